// `aegisd check-config`: the effective settings, or every mistake with file, line, key and what is allowed.
import { canonicalJson } from '../../config/canonical.ts';
import { diff } from '../../config/diff.ts';
import { ConfigError, issueText } from '../../config/error.ts';
import { loadConfig } from '../../config/load.ts';
import { EXIT } from './program.ts';

export async function checkConfig(options: { config?: string; json?: boolean }): Promise<number> {
  try {
    const { config, sources } = loadConfig(options.config === undefined ? {} : { file: options.config });
    const changes = diff(loadConfig({ environment: {} }).config, config);
    if (options.json === true) {
      process.stdout.write(`{"ok":true,"sources":${JSON.stringify(sources)},"config":${canonicalJson(config)}}\n`);
      return EXIT.ok;
    }
    const lines = changes.map(({ key, before, after }) => `  ${key} = ${String(after)} (default ${String(before)})`);
    const said = lines.length === 0 ? ['  every setting has its default'] : lines;
    process.stdout.write(`The configuration is good: ${sources.join(', ')}\n${said.join('\n')}\n`);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (options.json === true) process.stdout.write(`${JSON.stringify({ ok: false, issues: error.issues })}\n`);
    else process.stderr.write(`${error.issues.map(issueText).join('\n')}\n`);
    return EXIT.refused;
  }
}
