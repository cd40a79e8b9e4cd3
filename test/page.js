// What a wallet's page does with the bundled client library; browser.ts serves it, package.test.ts reads its report.
import * as aegis from '/client.js';
import raws from '/raws.js';

const url = new URL('/api', location.href).href;
const simulated = { allow_simulated: true };
const times_ms = {};

async function timed(name, work) {
  const started = performance.now();
  const result = await work();
  times_ms[name] = Math.round(performance.now() - started);
  return result;
}

async function transact(keyset, scheme, raw) {
  const envelope = await timed(`encrypt ${scheme}`, () =>
    aegis.encryptEnvelope({ keyset, raw: aegis.fromHex(raw), scheme }),
  );
  const { envelope_id, receipt } = aegis.orThrow(await aegis.submit(url, envelope, { keyset }));
  return aegis.orThrow(await aegis.confirmTransaction(url, envelope_id, { ...simulated, receipt }));
}

async function visit() {
  const found = aegis.orThrow(await timed('keyset', () => aegis.fetchKeyset(url, simulated)));
  const { keyset, tcb_status } = found;
  const distrusted = await aegis.fetchKeyset(url);
  const first = await transact(keyset, 'x-wing', raws[0]);
  const second = await transact(keyset, 'ecies', raws[1]);
  const [earlier, later] = [first.verdict, second.verdict];
  const judge = (file) => aegis.verifyBatch(file, { ...simulated, now_ms: Date.now() });
  await timed('verify a batch', () => aegis.orThrow(judge(first.file)));
  const forged = structuredClone(first.file);
  forged.transactions[0].tx_hash = `0x${'00'.repeat(32)}`;
  const leaf = { kind: 'batch', digest: earlier.batch_id, height: earlier.height };
  return {
    agent: navigator.userAgent,
    keyset: { simulated: found.simulated, tcb_status },
    distrusted: distrusted.code,
    transactions: [first, second].map(({ transaction, verdict }) => ({
      scheme: transaction.scheme,
      status: verdict.status,
      simulated: verdict.simulated,
    })),
    altered: judge(forged).code,
    included: (await aegis.fetchInclusion(url, leaf, later)).ok,
    grown: (await aegis.fetchConsistency(url, earlier, later)).ok,
    times_ms,
  };
}

const report = await visit().catch((error) => ({ error: String(error), stack: error.stack }));
await fetch('/report', { method: 'POST', body: JSON.stringify(report) });
