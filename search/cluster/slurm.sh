#!/bin/bash
# A search on the nodes of a Slurm allocation:
#
#   sbatch search/cluster/slurm.sh launch search/configs/paper.yaml --storage /shared/results
#   sbatch search/cluster/slurm.sh resume paper --storage /shared/results
#
# Submit it from the checkout with the environment active, both on a file system that all nodes
# share. What follows the script's name are words of `fusion-search`.
#SBATCH --job-name=fusion-search
#SBATCH --output=%x-%j.out
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
# Two minutes before the end the search is stopped in the orderly way; resume goes on with it.
#SBATCH --signal=B:TERM@120
set -euo pipefail

# A token for this job alone; srun hands it on with the environment.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN_PATH

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
others=$((${#nodes[@]} - 1))
# Ports and a folder of this job's own, should another user's Ray run on these machines.
port=$((20000 + SLURM_JOB_ID % 4000 * 4))
address=$head:$port
cpus=${SLURM_CPUS_PER_TASK:-1}

steps=()
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
  trap '' TERM INT
  ((${#steps[@]})) && kill "${steps[@]}" 2>/dev/null
  wait
}
trap cleanup EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --block --port="$port" --ray-client-server-port=$((port + 1)) \
  --dashboard-host=127.0.0.1 --dashboard-port=$((port + 2)) \
  --temp-dir="/tmp/ray-$SLURM_JOB_ID" --num-cpus="$cpus" &
steps+=("$!")

# Nobody waits longer than this for a node.
deadline=$((SECONDS + 300))
until (: >"/dev/tcp/$head/$port") 2>/dev/null; do
  if ((SECONDS > deadline)) || ! kill -0 "${steps[0]}"; then
    echo "error: Ray did not start on $head" >&2
    exit 1
  fi
  sleep 1
done

if ((others)); then
  srun --nodes="$others" --ntasks="$others" --exclude="$head" \
    ray start --block --address="$address" --num-cpus="$cpus" &
  steps+=("$!")
fi

python - "$address" "${#nodes[@]}" $((deadline - SECONDS)) <<'PYTHON'
import sys
import time

import ray

address, wanted, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
until = time.monotonic() + seconds
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < wanted:
    if time.monotonic() > until:
        sys.exit(f"error: fewer than {wanted} nodes came up in time")
    time.sleep(1)
print(f"{wanted} nodes at {address}", flush=True)
PYTHON

fusion-search "$@" --address "$address" &
search=$!
trap 'kill -TERM "$search"' TERM INT
code=0
wait "$search" || code=$?
# A signal ends the first wait, not yet the search.
if kill -0 "$search" 2>/dev/null; then
  code=0
  wait "$search" || code=$?
fi
exit "$code"
