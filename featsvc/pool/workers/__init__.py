"""The workers as the gateway holds them: started, watched, fed, ended."""
