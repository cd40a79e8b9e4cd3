// A deployment under systemd: the settings, the unit with the drop-ins that they need, and a script that puts them in place. The
// program itself is installed by systemd/install.sh before; this is what differs from machine to machine, to be reviewed and kept.
import { readFileSync } from 'node:fs';
import type { Config } from '../../config/schema.ts';
import { egress, isOpen } from './egress.ts';
import type { Bundle, BundleFile, Plan } from './plan.ts';

/** `systemd/` of a checkout, of the package, and of an installation. */
const UNITS = new URL('../../systemd/', import.meta.url);
const unit = (name: string): string => readFileSync(new URL(name, UNITS), 'utf8');

const DROPINS = 'etc/systemd/system/aegisd.service.d';
/** Every drop-in that a deployment may ship. */
const KNOWN = ['dstack', 'sgx', 'tsm', 'egress', 'own'] as const;
/** TimeoutStopSec= of the unit, and how much more than `daemon.stop_timeout_s` it has to be. */
const STOP_S = 45;
const STOP_MORE_S = 15;
/** What the unit loads. */
const CREDENTIAL = 'aegis-root';

export function systemdBundle({ settings, config }: Plan, version: string): Bundle {
  const dropins = wanted(config);
  const files: BundleFile[] = [
    { path: 'etc/aegisd/sequencer.toml', text: settings },
    ...dropins.map((name): BundleFile => ({ path: `${DROPINS}/${name}.conf`, text: unit(`dropins/${name}.conf`) })),
    ...own(config),
    { path: 'usr/lib/systemd/system/aegisd.service', text: unit('aegisd.service') },
    { path: 'usr/lib/sysusers.d/aegisd.conf', text: unit('aegisd.sysusers') },
    { path: 'usr/lib/tmpfiles.d/aegisd.conf', text: unit('aegisd.tmpfiles') },
  ];
  const script: BundleFile = { path: 'apply.sh', text: applyScript(files, version), executable: true };
  return { files: [...files, script], notes: notes(config, dropins) };
}

/** docs/operations.md has what each of them opens. */
function wanted(config: Config): string[] {
  const { keys, attestation } = config;
  const platforms = [keys.source, attestation.primary, attestation.redundancy];
  const opened = isOpen(config) || Object.keys(egress(config)).length > 0;
  return [
    ...(['dstack', 'sgx', 'tsm'] as const).filter((platform) => platforms.some((each) => each === platform)),
    ...(opened ? ['egress'] : []),
  ];
}

/** Where settings differ from what the unit was written for. */
function own({ daemon: { stop_timeout_s }, keys }: Config): BundleFile[] {
  const lines = [
    ...(stop_timeout_s + STOP_MORE_S > STOP_S
      ? [
          '# Above daemon.stop_timeout_s, or a stop in good order ends in a SIGKILL.',
          `TimeoutStopSec=${stop_timeout_s + STOP_MORE_S}`,
        ]
      : []),
    ...(keys.source === 'credential' && keys.credential !== CREDENTIAL
      ? ['# keys.credential.', `LoadCredentialEncrypted=${keys.credential}`]
      : []),
  ];
  return lines.length === 0 ? [] : [{ path: `${DROPINS}/own.conf`, text: `[Service]\n${lines.join('\n')}\n` }];
}

function notes(config: Config, dropins: readonly string[]): string[] {
  const { keys, attestation } = config;
  const hosts = Object.entries(egress(config)).map(([key, host]) => `${host} (${key})`);
  return [
    'install the program first (systemd/install.sh), then run apply.sh as root',
    ...(keys.source === 'credential'
      ? [
          `make the root of keys: systemd-creds encrypt --name=${keys.credential} - /etc/credstore.encrypted/${keys.credential}`,
        ]
      : []),
    ...(keys.source === 'simulator' || attestation.primary === 'simulator'
      ? ['SIMULATED: no hardware vouches for anything; for trying things out only']
      : []),
    ...(dropins.includes('egress')
      ? [`egress.conf opens every address; narrow it to ${hosts.length > 0 ? hosts.join(', ') : 'your clients'}`]
      : []),
    ...(dropins.includes('sgx') ? ['sgx: ExecStart= has to become the gramine-sgx of your manifest'] : []),
  ];
}

/** Puts every file where it belongs, but over none that says something else. */
function applyScript(files: readonly BundleFile[], version: string): string {
  return `#!/usr/bin/env bash
# Puts this deployment of Aegis ${version} in place: ./apply.sh [--replace]. Written by aegisd deploy.
# It starts nothing. $DESTDIR is put before every path, to try it out.
set -euo pipefail
replace=no
[ "\${1:-}" != --replace ] || { replace=yes; shift; }
[ $# -eq 0 ] || { echo "apply.sh: expected --replace or nothing" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=\${DESTDIR:-}
[ -x "$root/usr/lib/aegisd/bin/node" ] || { echo "apply.sh: install the program first: systemd/install.sh of Aegis ${version}" >&2; exit 1; }
found=$("$root/usr/lib/aegisd/bin/node" "$root/usr/lib/aegisd/aegisd.js" --version)
[ "$found" = "${version}" ] || { echo "apply.sh: Aegis $found is installed; this is for ${version}" >&2; exit 1; }
files=(
${files.map(({ path }) => `  ${path}`).join('\n')}
)
# All of them are looked at before one is written.
for file in "\${files[@]}"; do
  if [ "$replace" = no ] && [ -e "$root/$file" ] && ! cmp -s "$here/$file" "$root/$file"; then
    echo "apply.sh: /$file is there and says something else; compare them, then --replace" >&2
    exit 1
  fi
done
# A drop-in that these settings need no more still opens what it was for. One that somebody else put there is only named.
gone=()
for name in ${KNOWN.join(' ')}; do
  stale=${DROPINS}/$name.conf
  [ ! -e "$root/$stale" ] || [[ " \${files[*]} " == *" $stale "* ]] || gone+=("$stale")
done
if [ "$replace" = no ] && [ \${#gone[@]} -gt 0 ]; then
  echo "apply.sh: \${gone[*]/#//}: there, and not of this deployment; --replace removes them" >&2
  exit 1
fi
for file in "\${files[@]}"; do
  # Whole or not at all: the daemon watches its settings.
  install -D -m 644 "$here/$file" "$root/$file.new"
  mv -f "$root/$file.new" "$root/$file"
done
for stale in \${gone[@]+"\${gone[@]}"}; do
  rm -f "$root/$stale"
done
for found in "$root/${DROPINS}"/*.conf; do
  [[ ! -e "$found" || " \${files[*]} " == *" \${found#"$root/"} "* ]] || echo "apply.sh: \${found#"$root"} is not of this deployment, and holds" >&2
done
if [ -z "$root" ]; then
  systemd-sysusers
  systemd-tmpfiles --create
  systemctl daemon-reload
fi
echo "in place; next: systemctl enable --now aegisd"
`;
}
