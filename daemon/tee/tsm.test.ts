// Quotes over configfs-tsm: whose bytes they are, what is left behind, and each way in which a kernel, its firmware or another
// process can be in the way. The kernel is test/devices.ts; what it hands out is recorded hardware evidence.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { little } from '../../actors/intelquote.ts';
import { systemError, TsmEmulator, type TsmOptions } from '../../test/devices.ts';
import { Fault } from '../fault.ts';
import { readCertificateTable } from './certtable.ts';
import { devices } from './device.ts';
import type { RawQuote } from './provider.ts';
import { tsmProvider } from './tsm.ts';

const fixture = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../test/fixtures/tee/${name}`, import.meta.url)));
const QUOTE = fixture('tdx/tdx_quote');
const REPORT = fixture('snp/report.bin');
const DATA = new Uint8Array(64).map((_, i) => i + 1);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-tsm-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The provider over an emulator, and what it would publish. */
function open(options: Partial<TsmOptions> = {}) {
  const kernel = new TsmEmulator({ folder, provider: 'tdx_guest', quote: () => QUOTE, ...options });
  const raws: RawQuote[] = [];
  const provider = tsmProvider({
    tsm_path: folder,
    devices: kernel,
    publish: async (raw) => {
      raws.push(raw);
      return { quote_type: raw.quote_type, quote: raw.quote, event_log: null, collateral: null };
    },
  });
  return { kernel, provider, raws };
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: Fault) => error,
  );

describe('a request', () => {
  it('gives what the kernel made of these 64 bytes, and is gone afterwards', async () => {
    const asked: Uint8Array[] = [];
    const quote = (data: Uint8Array) => {
      asked.push(data);
      return QUOTE;
    };
    const { kernel, provider, raws } = open({ quote });
    expect((await provider.quote(DATA)).quote).toEqual(QUOTE);
    expect(asked).toEqual([DATA]);
    expect(raws).toEqual([{ quote_type: 'TDX', quote: QUOTE, event_log: null, certificates: {} }]);
    expect(kernel.left).toEqual([]);
    expect(await provider.isAvailable()).toBe(true);
    expect(kernel.left).toEqual([]);
  });

  it('of an SEV-SNP guest comes with the certificates that the host put beside it', async () => {
    const vcek = new Uint8Array([1, 2, 3]);
    const { provider, raws } = open({ provider: 'sev_guest', quote: () => REPORT, table: table([[VCEK, vcek]]) });
    await provider.quote(DATA);
    expect(raws).toEqual([{ quote_type: 'SEV-SNP', quote: REPORT, event_log: null, certificates: { vcek } }]);
  });

  it('of an SEV-SNP guest may come without any', async () => {
    const { provider, raws } = open({ provider: 'sev_guest', quote: () => REPORT });
    await provider.quote(DATA);
    expect(raws[0]).toMatchObject({ quote_type: 'SEV-SNP', certificates: {} });
  });

  it('has a name of its own, so that many at once get each their own answer', async () => {
    const quote = (data: Uint8Array) => data.slice();
    const { kernel, provider } = open({ quote });
    const all = Array.from({ length: 20 }, (_, n) => new Uint8Array(64).fill(n));
    const answers = await Promise.all(all.map((data) => provider.quote(data)));
    expect(answers.map((answer) => answer.quote)).toEqual(all);
    expect(kernel.requests_max).toBeGreaterThan(1);
    expect(kernel.left).toEqual([]);
  });
});

describe('another process that writes into the request', () => {
  it.each(['read outblob', 'read provider'])(
    'shows in the generation, before %s, and it is asked anew',
    async (when) => {
      const { kernel, provider } = open();
      let times = 2;
      kernel.meanwhile = (call, path) => {
        if (`${call} ${path.split('/').at(-1)}` === when && times-- > 0) kernel.touch(dirname(path));
      };
      expect((await provider.quote(DATA)).quote).toEqual(QUOTE);
      expect(kernel.made).toBe(3);
      expect(kernel.left).toEqual([]);
    },
  );

  it('for ever ends in a Fault', async () => {
    const { kernel, provider, raws } = open();
    kernel.meanwhile = (call, path) => {
      if (call === 'read' && path.endsWith('outblob')) kernel.touch(dirname(path));
    };
    expect((await failure(provider.quote(DATA)))?.message).toContain('others wrote into its requests, 6 times');
    expect(raws).toEqual([]);
    expect(kernel.left).toEqual([]);
  });

  it('and takes it away costs another try', async () => {
    const { kernel, provider } = open();
    let times = 1;
    kernel.meanwhile = (call, path) => {
      if (call === 'write' && times-- > 0) kernel.remove(dirname(path));
    };
    expect((await provider.quote(DATA)).quote).toEqual(QUOTE);
  });
});

describe('a kernel that is', () => {
  it.each([
    ['busy', { call: 'read', name: 'outblob', code: 'EBUSY' }],
    ['in its firmware', { call: 'read', name: 'outblob', code: 'EAGAIN' }],
    ['interrupted', { call: 'read', name: 'outblob', code: 'EINTR' }],
    ['written elsewhere', { call: 'write', name: 'inblob', code: 'ETXTBSY' }],
  ] as const)('%s is asked again', async (_, trouble) => {
    const { kernel, provider } = open();
    kernel.troubles.push({ ...trouble }, { ...trouble });
    expect((await provider.quote(DATA)).quote).toEqual(QUOTE);
    expect(kernel.calls.filter((call) => call.startsWith('mkdir'))).toHaveLength(3);
    expect(kernel.left).toEqual([]);
  });

  it('busy for ever ends in a Fault', async () => {
    const { kernel, provider } = open();
    for (let n = 0; n < 10; n++) kernel.troubles.push({ call: 'read', name: 'outblob', code: 'EBUSY' });
    const fault = await failure(provider.quote(DATA));
    expect(fault).toBeInstanceOf(Fault);
    expect(fault?.detail).toMatchObject({ code: 'quote_failed', provider: 'tsm', path: folder });
    expect(fault?.message).toContain('EBUSY, 6 times');
    expect(kernel.left).toEqual([]);
  });

  it.each([
    ['EIO', { call: 'read', name: 'outblob', code: 'EIO' }, /: EIO\./],
    ['EACCES', { call: 'write', name: 'inblob', code: 'EACCES' }, /EACCES \(it takes root/],
    ['ETIMEDOUT', { call: 'read', name: 'outblob', code: 'ETIMEDOUT' }, /ETIMEDOUT/],
  ] as const)('broken with %s says so at once, and leaves nothing', async (_, trouble, says) => {
    const { kernel, provider } = open();
    kernel.troubles.push({ ...trouble });
    expect((await failure(provider.quote(DATA)))?.message).toMatch(says);
    expect(kernel.calls.filter((call) => call.startsWith('mkdir'))).toHaveLength(1);
    expect(kernel.left).toEqual([]);
  });

  it('without a TSM is not available, and says what it takes', async () => {
    const provider = tsmProvider({ tsm_path: join(folder, 'none'), publish: () => Promise.reject(new Error('never')) });
    expect(await provider.isAvailable()).toBe(false);
    expect((await failure(provider.quote(DATA)))?.message).toMatch(
      /none: ENOENT \(it takes a kernel with CONFIG_TSM_REPORTS/,
    );
    const { kernel, provider: other } = open();
    kernel.meanwhile = (call, path) => {
      if (call === 'mkdir') throw systemError('ENXIO', 'mkdir', path);
    };
    expect(await other.isAvailable()).toBe(false);
    expect((await failure(other.quote(DATA)))?.message).toContain('ENXIO (it takes a kernel');
  });

  it('of another maker is not available', async () => {
    const { kernel, provider } = open({ provider: 'arm_cca_guest' });
    expect(await provider.isAvailable()).toBe(false);
    expect((await failure(provider.quote(DATA)))?.message).toContain('expected tdx_guest, sev_guest');
    expect(kernel.left).toEqual([]);
  });

  it('talkative is not listened to beyond a bound', async () => {
    const { kernel, provider } = open({ quote: () => new Uint8Array(32_769) });
    expect((await failure(provider.quote(DATA)))?.message).toContain('holds more than 32768 bytes');
    expect(kernel.left).toEqual([]);
  });
});

describe('device files', () => {
  it('are written whole where they are, and never made', async () => {
    await expect(devices.write(join(folder, 'inblob'), DATA)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(devices.write('/dev/full', DATA)).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(devices.read(folder, 64)).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(devices.read('/dev/zero', 64)).rejects.toThrow('/dev/zero holds more than 64 bytes');
    expect(await devices.read('/dev/null', 64)).toEqual(new Uint8Array());
  });
});

const VCEK = '63da758de6644564adc5f4b93be8accd';
const ASK = '4ab7b379bbac4fe4a02f05aef327c782';

/** GHCB 2.03 §4.1.8.1. */
function table(entries: readonly [guid: string, content: Uint8Array][], end = true): Uint8Array {
  const head = 24 * (entries.length + 1);
  let at = head;
  const rows = entries.map(([guid, content]) => {
    const row = [...Uint8Array.fromHex(guid), ...little(at, 4), ...little(content.length, 4)];
    at += content.length;
    return row;
  });
  const rest = end ? new Array(24).fill(0) : new Array(24).fill(0xff);
  return Uint8Array.from([...rows.flat(), ...rest, ...entries.flatMap(([, content]) => [...content])]);
}

describe('the certificate table', () => {
  it('is read by GUID, in either spelling, and others are left out', () => {
    const windows = '8d75da6364e66445adc5f4b93be8accd';
    const [one, two] = [new Uint8Array([1]), new Uint8Array([2, 2])];
    expect(readCertificateTable(new Uint8Array())).toEqual({});
    expect(
      readCertificateTable(
        table([
          [VCEK, one],
          [ASK, two],
        ]),
      ),
    ).toEqual({ vcek: one, ask: two });
    expect(
      readCertificateTable(
        table([
          ['11'.repeat(16), one],
          [windows, two],
        ]),
      ),
    ).toEqual({ vcek: two });
  });

  it('is refused where its host wrote nonsense', () => {
    const big = new Uint8Array(4_097);
    const read = (bytes: Uint8Array) => () => readCertificateTable(bytes);
    expect(read(table([[VCEK, big]]))).toThrow('vcek of 4097 bytes');
    expect(
      read(
        table([
          [VCEK, big.slice(1)],
          [VCEK, big.slice(1)],
        ]),
      ),
    ).toThrow('two entries vcek');
    expect(read(table([[VCEK, new Uint8Array(9)]]).slice(0, -1))).toThrow('ends beyond');
    expect(read(table([[VCEK, new Uint8Array(1)]], false))).toThrow('without an end');
    expect(read(new Uint8Array(24 * 40).fill(0xee))).toThrow('more than 32 entries');
    const whole = table([[VCEK, new Uint8Array(30)]]);
    for (let length = 1; length < whole.length; length++) expect(read(whole.slice(0, length))).toThrow(SyntaxError);
  });
});
