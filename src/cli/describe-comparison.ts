import type { Comparison, RowDifference } from '../projections/compare.ts';
import { differingRows } from '../projections/compare.ts';

/** Longest value of a column that is shown, in characters. */
const SHOWN = 100;

/** The rows that differ, one a line with its columns below; empty when none does. */
export function describeDifferences(comparison: Comparison): string[] {
  const told = comparison.differences.flatMap(describeRow);
  const more = differingRows(comparison) - comparison.differences.length;
  return more > 0 ? [...told, `  and ${more} more`] : told;
}

const SAYS: Record<RowDifference['kind'], string> = {
  changed: 'differs',
  missing: 'is missing',
  extra: 'follows from no event',
};

function describeRow({ table, key, kind, columns }: RowDifference): string[] {
  const row = Object.entries(key)
    .map(([column, value]) => `${column}=${value ?? 'NULL'}`)
    .join(' ');
  return [
    `  ${table} ${row} ${SAYS[kind]}`,
    ...columns.map(
      ({ column, live, expected }) => `    ${column}: is ${short(live)}, should be ${short(expected)}`,
    ),
  ];
}

function short(value: string | null): string {
  if (value === null) return 'NULL';
  const text = JSON.stringify(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}… (${value.length} characters)` : text;
}
