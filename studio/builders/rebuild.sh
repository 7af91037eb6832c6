#!/usr/bin/env bash
# Make the whole pocket world again on one accelerator: autoencoder, base, judges, encoder, LoRAs, and their measures.
# Each part resumes from WORK, so that an interrupted run goes on. What is shipped changes in place; figures go to docs/results.
#   WORK=work/pocket AE_SECONDS=85 BASE_SECONDS=215 WORKERS=15 bash studio/builders/rebuild.sh [part ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=true PYTHONUNBUFFERED=1
work=${WORK:-work/pocket} python=${PYTHON:-.venv/bin/python}
workers=${WORKERS:-$(nproc)} pictures=${PICTURES:-130000} count=${COUNT:-100}
parts=" ${*:-autoencoder base judges adapters measures} "
mkdir -p "$work"
started=$SECONDS
say() { echo "== $((SECONDS - started)) s: $*"; }
has() { [[ $parts == *" $1 "* ]]; }
build() { local what=$1; shift; "$python" -m "lora_loom.studio.builders.$what" "$@" >"$work/$what.out" 2>&1 || { tail -n 25 "$work/$what.out"; say "$what failed"; return 1; }; }

judging() { # pictures while the autoencoder is still learning, then all three at once
    local part running=()
    for part in judge sealed_judge encoder; do build "$part" --work "$work" --workers $((workers / 3 + 1)) ${JUDGE_OPTIONS:-} --prepare-only; done
    until [[ -f $work/autoencoder.json ]]; do sleep 1; done
    for part in judge sealed_judge encoder; do
        build "$part" --work "$work" --steps "${JUDGE_STEPS:-4000}" ${JUDGE_SECONDS:+--seconds "$JUDGE_SECONDS"} ${JUDGE_OPTIONS:-} & running+=($!)
    done
    for part in "${running[@]}"; do wait "$part"; done
}

if has judges; then
    judging & judges=$!
fi
if has autoencoder; then
    build pictures --work "$work" --pictures "$pictures" --workers $((workers * 2 / 3)) & drawing=$!
    build base --work "$work" --pictures "$pictures" --workers 2 --prepare-only & captioning=$!
    build autoencoder --work "$work" --pictures "${AE_PICTURES:-8000}" --batch "${AE_BATCH:-256}" \
        --workers $((workers - workers * 2 / 3)) --steps "${AE_STEPS:-3000}" ${AE_SECONDS:+--seconds "$AE_SECONDS"} & encoding=$!
    wait $encoding
    say "autoencoder: $(cat "$work/autoencoder.json" | tr -d '\n')"
    wait $drawing $captioning
    say "pictures drawn"
fi
if has base; then
    build base --work "$work" --pictures "$pictures" --workers "$workers" --batch "${BASE_BATCH:-512}" --peak "${BASE_PEAK:-1e-3}" \
        --steps "${BASE_STEPS:-5000}" ${BASE_SECONDS:+--seconds "$BASE_SECONDS"} --save-every 1000 & training=$!
fi
if has base; then
    wait "$training"
    say "base: $(tail -n 1 "$work/base_log.jsonl")"
    build ship --work "$work"
fi
if has judges; then
    wait "$judges" || say "a judge or the encoder failed"
    say "judges and encoder"
fi
running=()
if has measures; then
    build measure_base --count $((count * 10)) --work "$work/measured" & running+=($!)
fi
share() { # train and measure every n-th LoRA
    local k=$1 n=$2
    if has adapters; then
        "$python" -m lora_loom.studio.builders.adapters --share "$k/$n" ${ADAPTER_STEPS:+--steps "$ADAPTER_STEPS"} ${ADAPTERS:-}
    fi
    if has measures; then
        "$python" -m lora_loom.studio.builders.measure_adapters --count "$count" --share "$k/$n" --draw-only --work "$work/measured"
    fi
}
if has adapters && [[ -z ${ADAPTERS:-} ]]; then
    find studio/pocket/adapters -type f -delete
fi
together=${TOGETHER:-12}
for ((k = 0; k < together; k++)); do share "$k" "$together" >"$work/share.$k.out" 2>&1 & running+=($!); done
for each in "${running[@]}"; do wait "$each" || say "a share of the LoRAs or a measure failed"; done
if has measures; then
    build measure_adapters --count "$count" --work "$work/measured" || true
    build measure_judges --work "$work/known" --drawn "$work/measured" --steps 20 || true
    build measure_encoder --work "$work/known" || true
fi
say "LoRAs: $(ls studio/pocket/adapters | grep -c 'safetensors$')"
