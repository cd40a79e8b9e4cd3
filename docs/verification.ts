// docs/verification.md: how to write the policy by which evidence, batches and keysets are judged. The table of keys comes from
// the schema itself, so that neither can have a key that the other hasn't; generate.ts writes the page, a test reads its examples
// as the commands would.
import { EVIDENCE_CHECKS, type EvidenceCheck } from '../actors/check.ts';
import { EVIDENCE_RULES, type NAMES, VerificationPolicy } from '../client/policy.ts';
import { table } from '../daemon/api/guide.ts';

type Key = keyof typeof VerificationPolicy.shape;
type Names<T extends keyof typeof NAMES> = Record<keyof (typeof NAMES)[T], string>;

/** What a value looks like. */
const FORMS: Record<Key, string> = {
  signatures: '`"all"` or `"any-pq"`',
  quote_types: 'list of `"TDX"`, `"SEV-SNP"`, `"SGX"`',
  roots: 'list of PEM texts, or base64 of DER',
  tcb_statuses: 'list of texts',
  advisories: 'list of ids',
  collateral_age_max_s: 'seconds',
  amd_crl: '`"required"` or `"if_present"`',
  snp_tcb_min:
    'a table for `Milan`, `Genoa`, `Turin` with `boot_loader`, `tee`, `snp`, `microcode`, and `fmc` from Turin on',
  measurements: 'list of tables, see below',
  event_log: '`"required"` or `"if_present"`',
  events: 'list of `{ event, payload }`, the payload in 0x-hex or left out',
  app_ids: 'list of 20 bytes in 0x-hex',
  compose_hashes: 'list of 32 bytes in 0x-hex',
  kms_roots: 'list of 0x-hex',
  freshness_min: '0 to 2; 1 asks for a witness',
  redundancy: '`"optional"`, `"required"` or `"independent"`',
  log_id: '64 bytes in 0x-hex',
  chain_id: 'integer, or a decimal text',
  key_sources: 'list of `"dstack"`, `"credential"`, `"sgx"`, `"simulator"`',
  keysets: 'list of 64 bytes in 0x-hex',
};

const TDX: Names<'TDX'> = {
  mrtd: 'what the guest was started from: its firmware',
  rtmr0: 'its virtual hardware and firmware settings',
  rtmr1: 'its kernel',
  rtmr2: 'its command line and initial RAM disk',
  rtmr3:
    'what was measured later; under dstack the application, which `app_ids` and `compose_hashes` name more plainly',
  mr_seam: 'the TDX module',
  mr_config_id: 'a configuration that the host named at start',
  mr_owner: 'its owner, as the host named it',
  mr_owner_config: 'a configuration of its owner',
};
const SGX: Names<'SGX'> = {
  mrenclave: 'the enclave',
  mrsigner: 'who signed it',
  isv_prod_id: 'which product of the signer’s, a number',
  isv_svn_min: 'the least version of that product, a number',
  isv_ext_prod_id: 'a longer product id (KSS)',
  config_id: 'a configuration that the host named (KSS)',
};
const SNP: Names<'SEV-SNP'> = {
  measurement: 'what the guest was started from',
  host_data: 'what the host said of it at start',
  family_id: 'family, in its id block',
  image_id: 'image, in its id block',
  id_key_digest: 'the key that signed its id block',
  author_key_digest: 'the key that signed that key',
  guest_svn_min: 'the least version in its id block, a number',
};

const code = (name: string) => `\`${name}\``;
const named = (names: Record<string, string>) =>
  table(
    ['name', 'what it is'],
    Object.entries(names).map(([name, text]) => [code(name), text]),
  );

function keys(wanted: (key: Key) => boolean): string {
  const shape = VerificationPolicy.shape;
  const rows = (Object.keys(shape) as Key[]).filter(wanted).map((key) => {
    return [code(key), FORMS[key], shape[key].description ?? ''];
  });
  return table(['key', 'value', 'meaning'], rows);
}

function checks(): string {
  const rows = (Object.keys(EVIDENCE_CHECKS) as EvidenceCheck[]).map((name) => {
    const { says, codes } = EVIDENCE_CHECKS[name];
    return [code(name), says, codes.map(code).join(' ')];
  });
  return table(['check', 'what holds then', 'codes when it fails'], rows);
}

/** The whole page. */
export function verificationPage(): string {
  return `<!-- Made by docs/verification.ts: npm run docs -->
# Whom to believe

Evidence of hardware says which code runs where. Whether that is what you want to rely on, only you can say: in a policy file, TOML or JSON, that
\`aegisd verify\`, \`verify-quote\`, \`audit\` and \`send\` take with \`--policy\`, and programs as \`VerificationPolicy.parse(…)\`. Nothing
in it may come from what it judges. What it asks for and the evidence doesn't have is refused; every refusal has one code ([errors.md](errors.md#verification)).

## To write one

1. Get a quote of the enclave that you mean, from a source that you trust, and look at it. \`verify-quote\` takes bytes, hex, base64, the
   answer of dstack's GetQuote, an attestation, or a file that has one, and prints every check and everything that a policy can name:

   \`\`\`sh
   npx aegisd verify-quote quote.bin --collateral collateral.json
   npx aegisd verify-quote report.bin --collateral vcek.pem --collateral ask.pem --collateral ark.pem --collateral crl.der
   npx aegisd verify-quote quote.bin --collateral https://api.trustedservices.intel.com
   \`\`\`

2. Compare what it prints with what a build of your own gives, and put it under \`[[measurements]]\`. There may be several entries: one must agree
   in all that it names.
3. Add which log and which keys you mean (\`log_id\`, \`chain_id\`, \`key_sources\`). Of hardware, a policy must name \`measurements\`, \`log_id\` and
   \`key_sources\`, or it is refused as incomplete: anyone can run code of their own in a genuine enclave.
4. Try it: \`aegisd verify-quote quote.bin --collateral collateral.json --policy policy.toml\` ends with 0 only if all of it holds.

A dstack application on TDX:

\`\`\`toml
quote_types = ["TDX"]
tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
advisories = ["INTEL-SA-00615"]
collateral_age_max_s = 2592000
event_log = "required"
app_ids = ["0x3763bc34552cf3a27ff71ad5f7a90471562a1a2d"]
compose_hashes = ["0x3763bc34552cf3a27ff71ad5f7a90471562a1a2df552dfc1998cba2d60da27e7"]
chain_id = 31337
key_sources = ["dstack"]

[[measurements]]
mrtd = "0xb24d3b24e9e3c16012376b52362ca09856c4adecb709d5fac33addf1c47e193da075b125b6c364115771390a5461e217"
rtmr0 = "0x2e3843265f8ecdd4e2282694747f6f2f111605c33f2a8882f5734ee6f3a6ce63d8f34aeef06093dcda76fa5f9d33d8d6"
rtmr1 = "0xa1b79d76021970f57c45c4a7c395f780bab37011a4df27fe44e8559bd1abb4d6e52f12f866d1d08405448eb797a5970f"
rtmr2 = "0x1e31b59d605df7ee8160cf7966be9bafa6d0e1905de7e09695a24cd9748e71a603a51fae1297619fa0c30517addbcd07"
\`\`\`

A guest on SEV-SNP. AMD rates no firmware versions, so the policy says which are new enough:

\`\`\`toml
quote_types = ["SEV-SNP"]
key_sources = ["credential"]

[snp_tcb_min.Milan]
boot_loader = 4
snp = 23
microcode = 213

[[measurements]]
measurement = "0x7f51e17f72a04d5422cb2c00998166536019a217376f3aa45a630e59c805a599847ff250dbffcd07e1ba639771d6f05d"
\`\`\`

Whatever a signer signs as product 7, from version 3 on, in SGX:

\`\`\`toml
key_sources = ["sgx"]

[[measurements]]
mrsigner = "0x5151515151515151515151515151515151515151515151515151515151515151"
isv_prod_id = 7
isv_svn_min = 3
\`\`\`

## Keys about evidence

The same keys stand in \`[attestation.policy]\` of sequencer.toml, where an operator demands them of the own platform before its evidence is published.

${keys((key) => key in EVIDENCE_RULES)}

## Keys about the rest

${keys((key) => !(key in EVIDENCE_RULES))}

## Measurements

An entry names things of one type of quote. TDX, 48 bytes each in 0x-hex:

${named(TDX)}

The compose file and the app id are measured by the guest's own system: they mean something only beside \`mrtd\` and \`rtmr0\` to \`rtmr2\`.

SGX; \`mrenclave\`, or \`mrsigner\` with product and version. 32 bytes in 0x-hex unless said otherwise (\`isv_ext_prod_id\` 16, \`config_id\` 64):

${named(SGX)}

SEV-SNP; \`measurement\` or one of the keys. 48 bytes in 0x-hex (\`host_data\` 32, \`family_id\` and \`image_id\` 16):

${named(SNP)}

## What is checked

In this order; \`verify-quote\` prints a line for each. Debug modes, revoked platforms, masked chips and migration agents are always refused.

${checks()}

Quotes of TDX and SGX, and reports of SEV-SNP, are signed with ECDSA, and AMD's certificates with RSA: none of that is post-quantum. What is, is the
enclave's own ML-DSA-87 and SLH-DSA signatures, which evidence ties to the hardware as long as nobody can forge those others.
`;
}
