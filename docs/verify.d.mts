// Types of verify.mjs, for the test that holds it against client/verify.ts.

export interface Options {
  readonly now_ms: number;
  readonly allow_simulated?: boolean;
  /** DER of the roots to trust; any that is accepted otherwise where left out. */
  readonly roots?: readonly Uint8Array[];
}

export type Verdict =
  | {
      readonly ok: true;
      readonly height: number;
      readonly log_id: string;
      readonly mrtd: string;
      /** Of the second platform. */
      readonly second_mrtd: string | null;
      readonly simulated: boolean;
      /** What the caller must judge. */
      readonly unchecked: string;
    }
  | { readonly ok: false; readonly reason: string };

/** Never throws. */
export function verify(file: unknown, options: Options): Verdict;
