#!/bin/sh
# Sort the planets by size, then fit planets and moons.
set -eu
mkdir -p results
{ head -n 1 planets.csv; tail -n +2 planets.csv | sort -t , -k 2 -g; } > results/sorted.csv
python planets.py
python moons.py
