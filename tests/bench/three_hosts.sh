#!/usr/bin/env bash
# Three hosts that share nothing but a network, on one machine: network namespaces with disks of
# their own, Open MPI over TCP between them. Same bytes as one process; a host that is cut off ends
# the run with one line; two hosts go on.
#   three_hosts.sh LINEX WEIGHTS    as root; WEIGHTS: tests/fixtures/models/resnet_cifar.safetensors;
#                                   needs mpirun, ip, and numpy in $PYTHON (python3)
set -euo pipefail
linex=$(realpath "$1") weights=$(realpath "$2")
work=$(mktemp -d)
chmod 755 "$work"
export PYTHON=${PYTHON:-python3}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
id=lx$$
cleanup() {
  for host in 1 2 3; do
    for process in $(ip netns pids $id-$host 2>/dev/null); do kill -9 "$process" 2>/dev/null || true; done
    ip netns del $id-$host 2>/dev/null || true
  done
  ip link del $id 2>/dev/null || true
  sleep 0.5
  rm -rf "$work"
}
trap cleanup EXIT

ip link add $id type bridge
ip link set $id up
for host in 1 2 3; do
  ip netns add $id-$host
  ip link add $id-v$host type veth peer name eth0 netns $id-$host
  ip link set $id-v$host master $id up
  ip -n $id-$host addr add 10.97.0.$host/24 dev eth0
  ip -n $id-$host link set eth0 up
  ip -n $id-$host link set lo up
  mkdir -p "$work/disk$host"
done
mkdir "$work/data"  # every host sees its own disk there

# What every disk holds: images of two classes and the weights.
cat >"$work/images.py" <<'P'
import os, sys
import numpy as np
random = np.random.default_rng(1)
for i in range(3000):
    name = ('dog', 'cat')[i % 2]
    os.makedirs(f'{sys.argv[1]}/images/{name}', exist_ok=True)
    image = random.integers(0, 128, (32, 32, 3)) + 100 * (i % 2)
    with open(f'{sys.argv[1]}/images/{name}/{10000 + i}.ppm', 'wb') as file:
        file.write(b'P6 32 32 255\n' + image.astype('u1').tobytes())
P
"$PYTHON" "$work/images.py" "$work/disk1"
cp "$weights" "$work/disk1/weights.safetensors"
cp -a "$work/disk1/." "$work/disk2" && cp -a "$work/disk1/." "$work/disk3"

# on HOST COMMAND...: runs it there.
cat >"$work/on" <<S
#!/bin/bash
host=\$1
shift
exec ip netns exec $id-\${host#host} unshare -m -u bash -c '
  hostname "\$0"; mount --bind $work/disk\${0#host} $work/data; cd $work/data; eval "exec \$*"' "\$host" "\$@"
S
chmod +x "$work/on"
arguments="explain --data.root=images --model.plugin=resnet --model.weights=weights.safetensors
  --model.layer=layer2,layer3 --labeler.plugin=label --run.log-level=error --run.report=none --run.threads=1"
# job HOSTS OUT: a run of one rank on each of the first HOSTS.
job() {
  local hosts=host1
  [ "$1" -lt 2 ] || hosts+=,host2
  [ "$1" -lt 3 ] || hosts+=,host3
  "$work/on" host1 mpirun -q -n "$1" -H $hosts --mca plm_rsh_agent "$work/on" --mca plm_rsh_no_tree_spawn 1 \
    --mca oob_tcp_if_include eth0 --mca oob_tcp_keepalive_time 10 --mca oob_tcp_keepalive_intvl 5 \
    --mca oob_tcp_keepalive_probes 3 --mca btl tcp,self --mca btl_tcp_if_include eth0 \
    --mca hwloc_base_binding_policy none --mca mpi_yield_when_idle 1 --wdir "$work/data" \
    "$linex" $arguments --run.out="$2"
}
same() { cmp "$work/disk1/alone/explanations.csv" "$work/disk1/$1/explanations.csv"; }

start=$SECONDS
"$work/on" host1 "$linex" $arguments --run.out=alone >/dev/null
echo "alone: $((SECONDS - start)) s"
job 3 three >/dev/null
same three
echo "three hosts, $("$PYTHON" -c "import json; print(json.load(open('$work/disk1/three/summary.json'))['hosts'])"): same bytes"
for host in 1 2 3; do
  echo "disk $host keeps $(find "$work/disk$host" -path '*three/cache*' -name '*.f32' | wc -l) shards of its own"
done

job 3 cut >/dev/null 2>"$work/error.txt" &
launcher=$!
for ((i = 0; i < 600; ++i)); do  # until every host has stored something
  stored=0
  for host in 1 2 3; do
    [ -z "$(find "$work/disk$host/cut" -name '*.f32' -print -quit 2>/dev/null)" ] || stored=$((stored + 1))
  done
  [ $stored -lt 3 ] || break
  sleep 0.05
done
ip link set $id-v3 down
start=$(date +%s%N)
for ((i = 0; i < 1200; ++i)); do
  ! grep -q "^linex:" "$work/error.txt" || break
  sleep 0.05
done
told=$((($(date +%s%N) - start) / 1000000))
for ((i = 0; i < 1200; ++i)); do
  kill -0 $launcher 2>/dev/null || break
  sleep 0.05
done
ended=$((($(date +%s%N) - start) / 1000000))
echo "host3 cut off: told after $told ms, mpirun ended after $ended ms:"
grep "^linex:" "$work/error.txt"  # beside what the launching across namespaces remarks
kill -9 $launcher 2>/dev/null || true
wait $launcher 2>/dev/null || true
job 2 cut >/dev/null
same cut
echo "resumed by two hosts: same bytes"
