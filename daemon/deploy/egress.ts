// Whom settings have the daemon speak to beyond its own machine. systemd.ts opens egress where there is anybody, and `aegisd deploy`
// names them, because a firewall in front wants the same list. A setting counts by its value, so a new one that is a URL does too.
import { address, CONFIG_KEYS, type Config, type ConfigKey, isLoopback, setting } from '../../config/schema.ts';

/** Hosts by the setting that names them; loopback is left out. */
export function egress(config: Config): Readonly<Record<string, string>> {
  const { attestation, risk } = config;
  const platforms = [attestation.primary, attestation.redundancy];
  const hardware = platforms.some((platform) => platform !== 'simulator' && platform !== 'off');
  const unused: ConfigKey[] = [
    ...(hardware ? [] : (['attestation.pccs_url', 'attestation.kds_url'] as const)),
    ...(attestation.witness === 'off' ? (['attestation.witness_url'] as const) : []),
  ];
  const urls = [
    ...CONFIG_KEYS.filter((key) => !unused.includes(key)).map((key) => [key, setting(config, key)] as const),
    ...risk.feeds.map((feed, i) => [`risk.feeds[${i}]`, feed.split(' ')[1]] as const),
  ];
  const hosts = urls.flatMap(([key, url]): [string, string][] => {
    if (typeof url !== 'string' || !/^https?:\/\//.test(url)) return [];
    return [[key, new URL(url).hostname.replace(/^\[|\]$/g, '')]];
  });
  return Object.fromEntries(hosts.filter(([, host]) => !isLoopback(host)));
}

/** Whether clients of other machines are let in. */
export const isOpen = ({ api }: Config): boolean => !isLoopback(address(api.listen)!.host);
