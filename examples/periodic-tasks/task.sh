#!/bin/sh
# A task. EXIT=3 makes it fail.
echo "working${1:+ on the $1}"
exit "${EXIT:-0}"
