import { ExportReader } from './export-reader.ts';
import type { ExportContents } from './export-reader.ts';
import { readLine } from './export-line.ts';
import type { Finding } from './finding.ts';
import { judge } from './judge-export.ts';
import type { Manifest } from './manifest.ts';
import { readLastLine, readLines } from './read-lines.ts';
import type { Proof, Trust } from './trust.ts';

export interface VerifyExportOptions extends Trust {
  readonly file: string;
  readonly signal: AbortSignal;
  /** @param offset bytes of the file that have been looked at */
  readonly onProgress?: (events: number, offset: number) => void;
}

export interface ExportVerdict {
  /** The first thing that is wrong; null when nothing is. */
  readonly finding: Finding | null;
  /** Empty when nothing was given to prove it by: the file is consistent, and that is all. */
  readonly proofs: readonly Proof[];
  /** Of the events up to the first that is wrong. */
  readonly contents: ExportContents;
  /** null when the file is found wrong before its end. */
  readonly manifest: Manifest | null;
}

/**
 * Reads an export from the first byte to the last and says what is wrong with it, or what proves it. Needs nothing but the
 * file.
 * @throws when the file cannot be read; or the signal's reason
 */
export async function verifyExport(options: VerifyExportOptions): Promise<ExportVerdict> {
  const { file, signal, onProgress } = options;
  const end = await readLastLine(file);
  const told = end && readLine(end, 0, null);
  // What the file should begin with stands at its end.
  const reader = new ExportReader(told?.kind === 'manifest' ? told.manifest : null);
  const wrong = (finding: Finding): ExportVerdict => {
    return { finding, proofs: [], contents: reader.contents(), manifest: null };
  };
  for await (const { bytes, ended, offset } of readLines(file, signal)) {
    const finding = reader.take(bytes, ended);
    if (finding) return wrong(finding);
    onProgress?.(reader.events, offset);
  }
  const signed = reader.end();
  if ('problem' in signed) return wrong(signed);
  const contents = reader.contents();
  const { manifest } = signed;
  return { finding: null, proofs: [], contents, manifest, ...judge(contents, signed, options) };
}
