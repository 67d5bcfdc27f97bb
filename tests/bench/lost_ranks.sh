#!/usr/bin/env bash
# Kills a random rank at random moments and resumes with another number of ranks: same bytes?
#   lost_ranks.sh LINEX [ROUNDS]     needs mpirun, and numpy in $PYTHON (python3)
set -euo pipefail
linex=$(realpath "$1") rounds=${2:-30}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
"${PYTHON:-python3}" - <<'P'
import numpy as np
random = np.random.default_rng(0)
rows, concepts, units = 6000, 300, 3000
presence = (random.random((rows, concepts)) ** 3).astype('f4')
activations = (0.1 * random.standard_normal((rows, units))).astype('f4')
for unit in range(units):
    activations[:, unit] += 2 * presence[:, unit % concepts] + presence[:, (3 * unit + 1) % concepts]
np.save('P.npy', presence)
np.save('A.npy', activations)
open('names.txt', 'w').write(''.join(f'thing {j}\n' for j in range(concepts)))
P
explain=("$linex" explain --model.plugin=recorded --model.activations=A.npy --labeler.plugin=recorded
  --labeler.concepts=P.npy --labeler.names=names.txt --run.log-level=warning --run.report=none)
start=$(date +%s%N)
"${explain[@]}" --run.out=alone >/dev/null
whole=$((($(date +%s%N) - start) / 1000000))  # milliseconds
ranks_of() { { pgrep -P "$1" || true; } | sort -n; }

killed=0 slowest=0 named=0 blocks=0
for ((round = 0; round < rounds; ++round)); do
  ranks=$((2 + RANDOM % 3))
  mpirun -q -n $ranks "${explain[@]}" --run.threads=1 --run.out=out >/dev/null 2>error.txt &
  launcher=$!
  delay=$((RANDOM % (whole * 2)))
  sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
  victim=$(ranks_of $launcher | shuf -n 1)
  start=$(date +%s%N)
  if [ -n "$victim" ] && kill -9 "$victim" 2>/dev/null; then
    wait $launcher && { echo "round $round: it ended as if nothing had happened"; exit 1; }
    took=$((($(date +%s%N) - start) / 1000000)) killed=$((killed + 1))
    [ $took -le $slowest ] || slowest=$took
    ! grep -q '^linex: rank [0-9]* on ' error.txt || named=$((named + 1))
    [ "$(wc -l <error.txt)" -le 1 ] || { echo "round $round says more than a line:"; cat error.txt; exit 1; }
    journal=out/explanations.recorded.journal
    [ ! -e $journal ] || blocks=$((blocks + $(wc -l <$journal) - 1))
  else
    wait $launcher || { cat error.txt; exit 1; }
  fi
  # Every other round begins anew; the others go on with what there is.
  if ((round % 2)); then
    mpirun -q -n $((1 + RANDOM % 4)) "${explain[@]}" --run.threads=1 --run.out=out >/dev/null
    cmp alone/explanations.csv out/explanations.csv
    rm -rf out
  fi
done
mpirun -q -n 2 "${explain[@]}" --run.threads=1 --run.out=out >/dev/null
cmp alone/explanations.csv out/explanations.csv
echo "$killed of $rounds runs killed ($named told by a rank, the others before MPI had started or by mpirun alone)," \
  "slowest end ${slowest} ms, $blocks stored blocks found by the next; same bytes after every resume"
