"""`featsvc batch`: what `featsvc-client` asks a server about many pictures, by engines in Ray Data's actors."""
