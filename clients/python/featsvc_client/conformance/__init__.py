"""The conformance kit: questions with known answers, for clients of all languages and for servers.

`python -m featsvc_client.conformance ADDRESS CASES.json [API_KEY]` is the runner of this client;
`featsvc verify HOST:PORT` compares a server's answers with the known ones.
"""
