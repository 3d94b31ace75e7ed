"""Gives each request the access token that it needs."""

import functools
import os
import subprocess

import schemathesis

LOGOUT = "/v2/account/logout"


def fresh_token() -> str:
    command = [os.environ["CONTRACT_SERVER"], "--config", os.environ["CONTRACT_CONFIG"]]
    command += ["account", "token", "@contract:example.org"]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return made.stdout.strip()


shared_token = functools.cache(fresh_token)


@schemathesis.auth(refresh_interval=None)
class AccessToken:
    def get(self, case, context):
        # A token that has logged out is dead: it must be nobody else's.
        return fresh_token() if context.operation.path == LOGOUT else shared_token()

    def set(self, case, token, context):
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
