#!/usr/bin/env bash
# Runs the benches that need an NVIDIA GPU, in steps of less than nine minutes each:
#
#     scripts/bench/gpu.sh STEP DIR        # DIR gets the step's files; its table is printed last
#     scripts/bench/gpu.sh list
#
# Needs this package with nvidia-ml-py and torch with CUDA; `predictors_ort` and `runtimes*` also need onnxruntime-gpu instead
# of onnxruntime. An unfinished step resumes when it is run again, from its last row, network or epoch; the short steps
# `repeat`, `runtimes*` and `entanglement` start again. PYTHON is the interpreter, HWNAS_BENCH_DATA the folder of the
# benchmark tables and CIFAR-10 (only for `conv_macro`), DEVICE_NAME the device's name for `ship`.
set -euo pipefail
step=${1:?usage: scripts/bench/gpu.sh STEP DIR, or list}
bench=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}

names="tests predictors_32 predictors_32_batch32 predictors_224 predictors_224_batch32 predictors_vit predictors_gpt
predictors_ort repeat runtimes runtimes_batch32 runtimes_224 swap entanglement conv_macro ship search"
if [ "$step" = list ]; then
    printf '%s\n' $names
    exit
fi
out=${2:?usage: scripts/bench/gpu.sh STEP DIR}
mkdir -p "$out"
log=$out/$step.log

# Runs a command for less than nine minutes; an unfinished one resumes when the step is run again.
within() {
    local code=0
    timeout -k 20 500 "$python" "$@" || code=$?
    [ "$code" = 124 ] || return "$code"
    echo "not finished: run this step again"
}
predictors() { within "$bench/predictors.py" "$1" --conditions "$2" --out "$out/$step"; }

run() {
    case $step in
    tests) within -m pytest -q -m gpu "$bench/../../tests" ;;
    predictors_32) predictors mobilenet cuda/torch ;;
    predictors_32_batch32) predictors mobilenet cuda/torch/batch=32 ;;
    predictors_224) predictors mobilenet@224 cuda/torch ;;
    predictors_224_batch32) predictors mobilenet@224 cuda/torch/batch=32 ;;
    predictors_vit) predictors vit cuda/torch ;;
    predictors_gpt) predictors gpt cuda/torch ;;
    predictors_ort) predictors mobilenet cuda ;;
    repeat) within "$bench/profiler_repeatability.py" mobilenet --device cuda --runtime torch ;;
    runtimes) within "$bench/runtimes.py" --gpu ;;
    runtimes_batch32) within "$bench/runtimes.py" --gpu --batch 32 ;;
    runtimes_224) within "$bench/runtimes.py" --gpu --options '{"resolution": 224}' ;;
    swap) within "$bench/swap.py" cuda/torch cpu --out "$out/$step" ;;
    entanglement) within "$bench/entanglement.py" --device cuda --batch 256 ;;
    conv_macro) within "$bench/conv_macro.py" --device cuda --seeds 0 1 2 --batch 256 --out "$out/$step" ;;
    ship) within "$bench/../ship_device.py" "${DEVICE_NAME:?name the device that is shipped}" --device cuda --runtime torch --out "$out/$step" ;;
    search)
        local what=(--space mobilenet --data digits --device cuda --runtime torch --latency-budget "60%")
        [ ! -e "$out/$step/run.json" ] || what=(--resume)
        within -m hwnas search "${what[@]}" --out "$out/$step"
        ;;
    *)
        echo "no step $step; there are:" $names >&2
        exit 2
        ;;
    esac
}

start=$SECONDS
run 2>&1 | tee "$log"
echo "$step: $((SECONDS - start)) s" | tee -a "$log"
