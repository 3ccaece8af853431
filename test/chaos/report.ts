import type { Inflicted } from './faults/inflict.ts';
import type { Violation } from './checks/violation.ts';

export interface Report {
  readonly faults: readonly Inflicted[];
  /** By what they count, with their unit. */
  readonly figures: readonly (readonly [string, string | number])[];
  readonly violations: readonly Violation[];
}

/** Violations of one promise that are printed with their particulars; all of them are in the artefacts. */
const SHOWN = 10;

/** The report for people. */
export function reportText({ faults, figures, violations }: Report): string {
  return [
    table(['Fault', 'Applied', 'Not applied'], faultRows(faults)),
    table(
      ['Figure', ''],
      figures.map(([name, value]) => [name, String(value)]),
    ),
    ...(violations.length === 0 ? ['Every promise was kept.'] : [violationText(violations)]),
  ].join('\n\n');
}

function faultRows(faults: readonly Inflicted[]): string[][] {
  const kinds = [...new Set(faults.map(({ kind }) => kind))].sort();
  return kinds.map((kind) => {
    const own = faults.filter((fault) => fault.kind === kind);
    const applied = own.filter(({ failure }) => failure === null).length;
    return [kind, String(applied), String(own.length - applied)];
  });
}

function violationText(violations: readonly Violation[]): string {
  const promises = [...new Set(violations.map(({ promise }) => promise))];
  return promises
    .flatMap((promise) => {
      const own = violations.filter((violation) => violation.promise === promise);
      const rest = own.length > SHOWN ? [`  and ${own.length - SHOWN} more`] : [];
      return [
        `NOT KEPT: ${promise} (${own.length})`,
        ...own.slice(0, SHOWN).map(({ particulars }) => `  ${particulars}`),
        ...rest,
      ];
    })
    .join('\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
