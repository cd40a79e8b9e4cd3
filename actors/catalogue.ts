// Published attacks, advisories and estimates that the program ships with, so that a new daemon doesn't begin as if nothing had
// happened. Each has its reference and the date of its publication, from which it decays like any other. Severity is what it means
// for a sequencer that signs with ML-DSA and SLH-DSA inside a TEE, not for the scheme that it broke; confidence is what became of
// it since. A new entry is one element here; docs/risk.md lists them, and a test holds them below every threshold that acts.
import { timestamp } from './encoding.ts';
import { type Threat, threatOf } from './indicator.ts';
import type { Category, Era } from './words.ts';

type Entry = readonly [
  id: string,
  category: Category,
  sub_category: string,
  severity: number,
  confidence: number,
  date: string,
  era_relevance: Era,
  source: string,
  description: string,
  reference: string,
];

const ENTRIES: readonly Entry[] = [
  [
    ...(['gidney-2025', 'digital_signatures', 'factoring_estimate', 0.4, 0.8, '2025-05-21', 'fault_tolerant'] as const),
    'Gidney (Google Quantum AI)',
    'RSA-2048 in less than a week with less than a million noisy qubits: twenty times fewer than estimated in 2019.',
    'arXiv:2505.15917',
  ],
  [
    ...(['litinski-2023', 'digital_signatures', 'ecdsa_estimate', 0.4, 0.7, '2023-06-14', 'fault_tolerant'] as const),
    'Litinski (PsiQuantum)',
    'A 256-bit elliptic curve key with 50 million Toffoli gates.',
    'arXiv:2306.08585',
  ],
  [
    ...(['beullens-2022', 'digital_signatures', 'multivariate', 0.2, 1, '2022-02-25', 'pre_quantum'] as const),
    'Beullens (IBM Research)',
    'Rainbow, a finalist of the NIST process, broken in a weekend on a laptop: new schemes can fail late.',
    'https://eprint.iacr.org/2022/214',
  ],
  [
    ...(['perlner-2022', 'digital_signatures', 'slh_dsa', 0.3, 0.9, '2022-08-16', 'pre_quantum'] as const),
    'Perlner, Kelsey, Cooper (NIST)',
    'Category 5 SPHINCS+ with SHA-256 falls short of its claim; FIPS 205 answers with SHA-512 in that place.',
    'https://eprint.iacr.org/2022/1061',
  ],
  [
    ...([
      'gidney-ekera-2019',
      'decryption_hndl',
      'factoring_estimate',
      0.4,
      0.8,
      '2019-05-23',
      'fault_tolerant',
    ] as const),
    'Gidney, Ekerå',
    'RSA-2048 in eight hours with 20 million noisy qubits: the estimate that others are measured against.',
    'arXiv:1905.09749; Quantum 5, 433 (2021)',
  ],
  [
    ...(['willow-2024', 'decryption_hndl', 'error_correction', 0.4, 0.95, '2024-12-09', 'fault_tolerant'] as const),
    'Google Quantum AI',
    'A logical qubit below the surface code threshold: errors fall as the code grows.',
    'arXiv:2408.13687; Nature 638, 920 (2025)',
  ],
  [
    ...(['chevignard-2024', 'decryption_hndl', 'factoring_qubits', 0.3, 0.7, '2024-02-13', 'fault_tolerant'] as const),
    'Chevignard, Fouque, Schrottenloher',
    'Factoring with about half as many logical qubits as the modulus has bits, at the price of more gates.',
    'https://eprint.iacr.org/2024/222',
  ],
  [
    ...(['castryck-decru-2022', 'decryption_hndl', 'isogenies', 0.2, 1, '2022-07-30', 'pre_quantum'] as const),
    'Castryck, Decru (KU Leuven)',
    'SIKE, a candidate of the NIST process, broken in an hour on one core.',
    'https://eprint.iacr.org/2022/975',
  ],
  [
    ...(['chen-2024', 'decryption_hndl', 'lattices', 0.95, 0.01, '2024-04-10', 'fault_tolerant'] as const),
    'Chen',
    'A polynomial quantum algorithm for LWE was claimed; step 9 was found wrong eight days later, and the claim withdrawn.',
    'https://eprint.iacr.org/2024/555',
  ],
  [
    ...(['nist-ir-8547', 'migration_agility', 'deprecation', 0.35, 0.9, '2024-11-12', 'fault_tolerant'] as const),
    'NIST',
    'Draft plan: RSA and elliptic curves of 112 bits deprecated after 2030, all of them disallowed after 2035.',
    'NIST IR 8547 (initial public draft)',
  ],
  [
    ...(['tee-fail-2025', 'side_channel', 'memory_bus_ddr5', 0.45, 0.95, '2025-10-28', 'pre_quantum'] as const),
    'Georgia Tech, Purdue, Synkhronix',
    'TEE.fail: an interposer on the DDR5 bus takes attestation keys out of TDX and SEV-SNP machines at hand.',
    'https://tee.fail',
  ],
  [
    ...(['wiretap-2025', 'side_channel', 'memory_bus_ddr4', 0.3, 0.95, '2025-10-01', 'pre_quantum'] as const),
    'Georgia Tech, Purdue',
    'WireTap: an interposer on the DDR4 bus takes the attestation key out of an SGX machine at hand.',
    'https://wiretap.fail',
  ],
  [
    ...([
      'battering-ram-2025',
      'side_channel',
      'memory_aliasing_ddr4',
      0.3,
      0.95,
      '2025-09-30',
      'pre_quantum',
    ] as const),
    'KU Leuven and others',
    'Battering RAM: a cheap interposer replays encrypted DDR4 memory of SGX and SEV-SNP at run time.',
    'https://batteringram.eu',
  ],
  [
    ...(['badram-2024', 'side_channel', 'memory_aliasing_spd', 0.3, 0.95, '2024-12-10', 'pre_quantum'] as const),
    'KU Leuven, Lübeck, Birmingham; AMD',
    'BadRAM: memory that lies about its size breaks SEV-SNP attestation; mitigated by firmware.',
    'CVE-2024-21944; AMD-SB-3015',
  ],
  [
    ...(['cachewarp-2023', 'side_channel', 'sev_writeback', 0.3, 0.95, '2023-11-14', 'pre_quantum'] as const),
    'CISPA, TU Graz; AMD',
    'CacheWarp: a host drops modified cache lines of SEV guests; mitigated by microcode.',
    'CVE-2023-20592; AMD-SB-3005',
  ],
  [
    ...(['downfall-2023', 'side_channel', 'gather_sampling', 0.3, 0.95, '2023-08-08', 'pre_quantum'] as const),
    'Moghimi; Intel',
    'Downfall: AVX gather leaks vector registers across domains, SGX included; mitigated by microcode.',
    'CVE-2022-40982; INTEL-SA-00828',
  ],
  [
    ...(['eucleak-2024', 'key_management', 'ecdsa_hardware', 0.2, 0.95, '2024-09-03', 'pre_quantum'] as const),
    'NinjaLab',
    'EUCLEAK: ECDSA keys taken from secure elements by a non-constant-time inversion that stood for 14 years.',
    'CVE-2024-45678',
  ],
];

export const CATALOGUE: readonly Threat[] = ENTRIES.map(
  ([id, category, sub_category, severity, confidence, date, era_relevance, source, description, reference]) => {
    const said = { category, sub_category, severity, confidence, source, description, era_relevance };
    return threatOf({ ...said, timestamp: timestamp(Date.parse(date)), references: [reference] }, 'catalogue', id);
  },
);
