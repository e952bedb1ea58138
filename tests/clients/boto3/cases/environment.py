"""Where the SDK finds the server: variables and profiles, as users set them. Each is asked in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile

from harness import case, same, true

# Says where the client is led to, and whether that answers.
PROGRAM = """
import boto3, json
client = boto3.client("stepfunctions")
machines = client.list_state_machines(maxResults=1) if client.meta.endpoint_url.startswith("http://") else None
print(json.dumps([client.meta.endpoint_url, machines is not None]))
"""


def led(config="", **variables):
    """Where a client goes with these variables and this configuration file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config")
        with open(path, "w") as file:
            file.write(config)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "AWS_CONFIG_FILE": path,
            "AWS_SHARED_CREDENTIALS_FILE": os.path.join(folder, "none"),
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            **variables,
        }
        ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60)
        true(ran.returncode == 0, ran.stderr)
        return json.loads(ran.stdout)


@case()
def variables_and_profiles_lead_to_the_server(context):
    here = [context.endpoint, True]
    same(led(AWS_ENDPOINT_URL_SFN=context.endpoint), here, "for the service")
    same(led(AWS_ENDPOINT_URL=context.endpoint), here, "for all services")
    same(led(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ENDPOINT_URL_SFN=context.endpoint), here, "the service's comes first")
    profile = f"[profile local]\nservices = local\n[services local]\nsfn =\n  endpoint_url = {context.endpoint}\n"
    same(led(profile, AWS_PROFILE="local"), here, "a profile's services")
    profile = f"[profile local]\nendpoint_url = {context.endpoint}\n"
    same(led(profile, AWS_PROFILE="local"), here, "a profile's endpoint")


@case()
def configured_endpoints_can_be_ignored(context):
    found, _ = led(AWS_ENDPOINT_URL_SFN=context.endpoint, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true")
    same(found, "https://states.us-east-1.amazonaws.com")
