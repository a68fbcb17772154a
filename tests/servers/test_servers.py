"""The test servers are the real thing: what tests rely on is checked once, here."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import boto3
import botocore.exceptions
import psycopg
import pytest

from tests.parts import free_ports
from tests.servers.mail import Sink
from tests.servers.postgresql import Cluster
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY
from vault.settings import BlobSettings, DatabaseSettings


@pytest.mark.postgresql
def test_postgresql_demands_the_password(postgresql: DatabaseSettings, postgresql_cluster: Cluster) -> None:
    assert postgresql.password_file is not None
    address = postgresql.url.replace("+psycopg", "")
    with psycopg.connect(address, password=postgresql.password_file.read_text()) as connection:
        answer = connection.execute("show server_version_num").fetchone()
        assert answer is not None
        assert int(answer[0]) >= 150_000
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(address, password="wrong")


@pytest.mark.s3
def test_s3_creates_once_and_reads_ranges(s3: BlobSettings) -> None:
    client = boto3.client(
        "s3", endpoint_url=s3.endpoint, region_name=s3.region, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )
    bucket = s3.url.split("/")[2]
    client.put_object(Bucket=bucket, Key="a", Body=b"0123456789", IfNoneMatch="*")
    with pytest.raises(botocore.exceptions.ClientError, match=r"PreconditionFailed|412"):
        client.put_object(Bucket=bucket, Key="a", Body=b"other", IfNoneMatch="*")
    answer = client.get_object(Bucket=bucket, Key="a", Range="bytes=2-4")["Body"]
    assert answer.read() == b"234"
    answer.close()
    client.close()


GIVEN = """
from random import SystemRandom
from tests import parts
SystemRandom.randrange = lambda _dice, _first, _end, numbers=iter(range({given}, {given} + 20)): next(numbers)
print(*parts.free_ports(1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="optional: names without files are Linux's")
def test_a_port_is_given_to_one_process_of_the_tests_once() -> None:
    """Also while the server that it is for has not begun, or stands still for a moment."""
    (given,) = free_ports(1)
    command = [sys.executable, "-c", GIVEN.format(given=given)]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert int(other.stdout) > given


def test_mail_sink_keeps_letters(mail_sink: Sink) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "a@example.org", "b@example.org", "Été"
    letter.set_content("bonjour")
    with smtplib.SMTP("127.0.0.1", mail_sink.port, timeout=60) as client:
        client.send_message(letter)
    assert [received["Subject"] for received in mail_sink.letters] == ["Été"]
