#!/usr/bin/python3
"""What people write: a consumer in Python that loads a topic into a table.

usage: peer.py insert|copy BOOTSTRAP TOPIC COUNT

  insert   one INSERT and one commit for each message
  copy     COPY in batches of 10,000, one commit for each batch

With the modules of Debian: python3-confluent-kafka, python3-psycopg2.  Connects by PGHOST and so on.  Prints messages per second, from the first
message taken to the last commit.
"""
import io
import json
import sys
import time

import psycopg2
from confluent_kafka import Consumer, TopicPartition

BATCH = 10_000
COLUMNS = ('event_id', 'sensor_id', 'temp', 'humidity', 'ts')


def messages(bootstrap, topic, count):
    """Yields lists of decoded messages, until there were count."""
    consumer = Consumer({'bootstrap.servers': bootstrap, 'group.id': 'peer', 'enable.auto.commit': False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    while count > 0:
        taken = consumer.consume(min(BATCH, count), 1.0)
        for message in taken:
            if message.error():
                raise RuntimeError(message.error())
        count -= len(taken)
        if taken:
            yield [json.loads(message.value()) for message in taken]


def insert(connection, rows):
    """Inserts rows one by one."""
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute('INSERT INTO peer VALUES (%s, %s, %s, %s, %s)', [row[column] for column in COLUMNS])
            connection.commit()


def copy(connection, rows):
    """Copies rows in one go."""
    text = io.StringIO(''.join('\t'.join(str(row[column]) for column in COLUMNS) + '\n' for row in rows))
    with connection.cursor() as cursor:
        cursor.copy_expert('COPY peer FROM STDIN', text)
    connection.commit()


def main():
    """Loads the messages into a table of its own."""
    load = {'insert': insert, 'copy': copy}[sys.argv[1]]
    bootstrap, topic, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
    connection = psycopg2.connect('')
    with connection.cursor() as cursor:
        cursor.execute('DROP TABLE IF EXISTS peer; CREATE TABLE peer (event_id uuid, sensor_id int,'
                       ' temp float8, humidity float8, ts timestamptz)')
    connection.commit()
    began = None
    for rows in messages(bootstrap, topic, count):
        began = began or time.monotonic()
        load(connection, rows)
    print(round(count / (time.monotonic() - began)))


main()
