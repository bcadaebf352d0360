#!/usr/bin/python3
"""Validates responses against an OpenAPI document.

usage: openapi_check.py DOCUMENT < RESPONSES

RESPONSES has a JSON object a line: method, path (that of the document; null:
the document does not have it), status, headers (names in lower case), and body
(parsed) or text. The output has a JSON list of faults for each line. An object
with a member that the document does not have is a fault, although the document
allows later versions to add members.
"""

import datetime
import json
import re
import sys

import jsonschema

# What Nginx answers to a request that it cannot read or that its list of
# addresses does not allow, and the response to another method; the introduction
# of the document has these.
OTHER = ('403', '405', '408', '411', '414', '501', '505')

FORMATS = jsonschema.FormatChecker(formats=['date'])


@FORMATS.checks('date-time', raises=ValueError)
def is_date_time(value):
    return (not isinstance(value, str)
            or datetime.datetime.fromisoformat(value).tzinfo is not None)


@FORMATS.checks('int64')
def is_int64(value):
    return not isinstance(value, int) or -2**63 <= value < 2**63


def close_objects(schema):
    """Refuses members that the document does not have."""
    if isinstance(schema, dict):
        if 'properties' in schema:
            schema.setdefault('additionalProperties', False)
        for value in schema.values():
            close_objects(value)
    elif isinstance(schema, list):
        for value in schema:
            close_objects(value)


class Document:
    def __init__(self, document):
        self.document = document
        close_objects(document['components']['schemas'])
        self.resolver = jsonschema.RefResolver('', document)

    def follow(self, node):
        while '$ref' in node:
            node = self.resolver.resolve(node['$ref'])[1]
        return node

    def schema_faults(self, schema, value, where):
        validator = jsonschema.Draft202012Validator(
            schema, resolver=self.resolver, format_checker=FORMATS)
        return [f'{where}{error.json_path[1:]}: {error.message[:300]}'
                for error in validator.iter_errors(value)]

    def header_faults(self, response, got):
        faults = []
        for name, header in response.get('headers', {}).items():
            header = self.follow(header)
            value = got['headers'].get(name.lower())
            if value is None:
                if header.get('required'):
                    faults.append(f'the header {name} is missing')
                continue
            if header['schema'].get('type') == 'integer':
                value = int(value) if re.fullmatch('-?[0-9]+', value) else value
            faults += self.schema_faults(header['schema'], value, name)
        return faults

    def body_faults(self, response, got):
        content = response.get('content', {})
        given = got['headers'].get('content-type', '').split(';')[0]
        if given not in content:
            return [f'content type {given!r}']
        value = got['body'] if given == 'application/json' else got['text']
        return self.schema_faults(content[given].get('schema', {}), value,
                                  'body')

    def faults(self, got):
        status = str(got['status'])
        operation = (self.document['paths'].get(got['path'] or '', {})
                     .get(got['method'].lower()))
        if operation and status in operation['responses']:
            response = self.follow(operation['responses'][status])
            return (self.header_faults(response, got)
                    + self.body_faults(response, got))
        # Errors of paths and methods that the document does not have, and what
        # can happen to every request.
        # The Nginx before several hosts does not have /metrics.
        if operation and status not in OTHER and (
                got['path'], status) != ('/metrics', '404'):
            return [f'status {status} is not in the document']
        kind = 'Refusal' if status[0] == '5' or status == '429' else 'Error'
        if status[0] not in '45':
            return [f'status {status} of a path that is not in the document']
        return self.schema_faults({'$ref': f'#/components/schemas/{kind}'},
                                  got['body'], 'body')


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        document = Document(json.load(file))
    for line in sys.stdin:
        print(json.dumps(document.faults(json.loads(line))))


main()
