#!/usr/bin/env bash
# One training on several machines of a Slurm cluster, restarted by itself:
#
#     sbatch --nodes 2 --gpus-per-node 8 --time 1-00:00:00 runs/slurm.sh STORE RUN [OPTIONS of stylegan train]
#
# STORE and RUN lie on a drive that all machines see. One torchrun on each machine; a process that dies is started again
# with all others (RESTARTS times, 10), and the run goes on from its newest state. Before its time is over the job gets
# SIGTERM, saves, and puts itself into the queue again, until `stylegan status` says that nothing is left to do.
#
# Without Slurm, on each machine: NODES=2 ENDPOINT=FIRST_MACHINE:29400 JOB=NAME runs/slurm.sh STORE RUN ...
#SBATCH --job-name=stylegan
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -euo pipefail
if [[ $# -lt 2 ]]; then
    echo "usage: $0 STORE RUN [OPTIONS]" >&2
    exit 2
fi
store=$1 run=$2
if [[ -n ${SLURM_JOB_ID:-} ]]; then
    hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    nodes=$SLURM_JOB_NUM_NODES endpoint=${hosts%%$'\n'*}:$((20000 + SLURM_JOB_ID % 20000)) job=$SLURM_JOB_ID
    each=(srun --kill-on-bad-exit=1)
else
    nodes=${NODES:-1} endpoint=${ENDPOINT:-localhost:29400} job=${JOB:-stylegan} each=()
fi
# torchrun would keep a store for all its starts, and a machine that comes back would wait in vain to be told its address
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# a machine waits for the others; SIGTERM to torchrun reaches the processes, which have 30 seconds to save
"${each[@]}" torchrun --nnodes "$nodes" --nproc-per-node "${PROCESSES:-gpu}" --max-restarts "${RESTARTS:-10}" \
    --rdzv-backend c10d --rdzv-endpoint "$endpoint" --rdzv-id "$job" \
    -m stylegan train "$store" "$run" "${@:3}" &
training=$!
trap 'kill -TERM $training 2>/dev/null || true' TERM INT HUP
code=0
wait $training || code=$?
wait $training 2>/dev/null || true # a trap has ended the first wait

[[ -n ${SLURM_JOB_ID:-} ]] || exit "$code"
state=0
stylegan status "$run" || state=$?
if [[ $state = 3 ]]; then # stopped: it can go on
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$state"
