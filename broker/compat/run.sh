#!/usr/bin/env bash
# Runs the stories with every client that is not pure Go: librdkafka (kcat, Go, Python), Java, kafka-python and
# kafkajs. Installs them, pinned, below FIRN_TOOLS; only Debian's kcat, Java with Maven, Python with venv, Node with
# npm and a C compiler must be on the machine, and whatever lacks is named at once.
set -euo pipefail
cd "$(dirname "$0")"
tools=${FIRN_TOOLS:-$HOME/.cache/firn/tools}
mkdir -p "$tools"

missing=()
for need in go gcc kcat java mvn python3 node npm; do
  command -v "$need" >/dev/null || missing+=("$need")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "test-clients: not on this machine: ${missing[*]}" >&2
  exit 1
fi

# once DIR COMMAND...: runs COMMAND, again if it fails, unless DIR is complete from an earlier run.
once() {
  local dir=$1
  shift
  [ -f "$dir/.complete" ] && return
  rm -rf "$dir"
  mkdir -p "$dir"
  "$@" || { echo "test-clients: trying once more: $*" >&2; "$@"; }
  touch "$dir/.complete"
}

python=$tools/clients-python-confluent-kafka-2.11.1-kafka-python-2.2.15
install_python() {
  python3 -m venv "$python"
  "$python/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.11.1 kafka-python==2.2.15
}
once "$python" install_python

node=$tools/clients-node-kafkajs-2.2.4
install_node() { npm install --silent --no-audit --no-fund --no-package-lock --prefix "$node" kafkajs@2.2.4; }
once "$node" install_node

java=$tools/clients-java-$(cat java/pom.xml java/src/main/java/*.java | sha256sum | cut -c1-16)
install_java() {
  mvn --quiet --batch-mode -f java/pom.xml compile dependency:copy-dependencies \
    -DoutputDirectory="$java/lib" -Dmdep.overWriteSnapshots=false
  cp -r java/target/classes "$java/"
  rm -rf java/target
}
once "$java" install_java

export FIRN_CLIENT_JAVA="java -Xmx256m -cp $java/classes:$java/lib/* Stories"
export FIRN_CLIENT_CONFLUENT_KAFKA_PYTHON="$python/bin/python -u $PWD/python/confluent.py"
export FIRN_CLIENT_KAFKA_PYTHON="$python/bin/python -u $PWD/python/kafkapython.py"
export FIRN_CLIENT_KAFKAJS="node $PWD/node/kafkajs.js"
export NODE_PATH=$node/node_modules
if [ "${1:-}" = --install ]; then exit 0; fi
if [ "${1:-}" = --failover ]; then # FIRN [FLAG...]: how soon Java and librdkafka write again, beside the client that is judged
  exec "$2" bench cluster --only failover --beside "java=$FIRN_CLIENT_JAVA" \
    --beside "librdkafka=$FIRN_CLIENT_CONFLUENT_KAFKA_PYTHON" "${@:3}"
fi
CGO_ENABLED=1 go test -tags clients -count=1 -timeout 20m "$@" .
