#!/bin/sh
# Stands for a compiler: prints some lines about the given part.
set -eu
for number in 1 2 3; do
    echo "$1: part $number"
done
