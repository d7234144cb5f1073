#!/bin/sh
# Started for every request: the body comes on standard input, what is printed is the answer.
# Headers are variables: $Http_Content_Type, $Http_Method, $Http_Path, $Http_Query.
# What goes to standard error is logged. An exit code other than 0 makes the call fail.
set -eu

body=$(cat)
name=$(printf '%s' "$body" | sed -n 's/.*"name" *: *"\([^"]*\)".*/\1/p')
printf 'Hello, %s!\n' "${name:-World}"
