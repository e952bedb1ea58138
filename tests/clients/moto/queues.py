#!/usr/bin/env python3
"""Makes queues in moto's server.

usage: queues.py --moto http://127.0.0.1:PORT NAME..."""

import argparse

import boto3

parser = argparse.ArgumentParser()
parser.add_argument("--moto", required=True)
parser.add_argument("names", nargs="*")
arguments = parser.parse_args()
key = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
queues = boto3.client("sqs", endpoint_url=arguments.moto, region_name="us-east-1", **key)
for name in arguments.names:
    queues.create_queue(QueueName=name)
