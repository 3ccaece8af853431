import { expect, it } from 'vitest';
import { readModelsVerdict, sealsVerdict } from '../chaos/checks/verify.ts';

const said = (answer: unknown, code = 0) => ({ code, stdout: JSON.stringify(answer), stderr: '' });
const tables = [
  { table: 'jobs', rows: 3 },
  { table: 'job_totals', rows: 4 },
];
const verified = [{ projection: 'jobs', differing: 0, tables }];
const rows = new Map(tables.map((one) => [one.table, one.rows]));
const sealed = { ok: true, events: 2_100, recorded: 2_100, signed: { events: 2_048 } };

it('counts what was compared', () => {
  expect(readModelsVerdict(said({ clean: true, verified }), rows)).toEqual({ violations: [], compared: 7 });
  expect(sealsVerdict(said(sealed), 2_100)).toEqual({ violations: [], compared: 2_100 });
  const short = { ...sealed, events: 9, recorded: 9, signed: { events: 1 } };
  expect(sealsVerdict(said(short), 9)).toEqual({ violations: [], compared: 9 });
});

it.each([
  { lie: 'rows that differ', answer: { clean: false, verified }, code: 1 },
  { lie: 'nothing that was compared', answer: { clean: true, verified: [] } },
  { lie: 'a command that failed', answer: { error: { code: 'STARTUP' } }, code: 1 },
  {
    lie: 'a table that was left out',
    answer: { clean: true, verified: [{ ...verified[0], tables: tables.slice(1) }] },
  },
  {
    lie: 'rows that were left out',
    answer: {
      clean: true,
      verified: [{ ...verified[0], tables: [tables[0], { table: 'job_totals', rows: 3 }] }],
    },
  },
])('reports $lie', ({ answer, code }) => {
  expect(readModelsVerdict(said(answer, code), rows).violations).toHaveLength(1);
});

it('reports read models without a row', () => {
  const empty = tables.map((one) => ({ ...one, rows: 0 }));
  const none = new Map(tables.map(({ table }) => [table, 0]));
  const answer = { clean: true, verified: [{ ...verified[0], tables: empty }] };
  expect(readModelsVerdict(said(answer), none).violations).toHaveLength(1);
});

it.each([
  { lie: 'an event that was changed', answer: { ...sealed, ok: false, finding: {} }, code: 1 },
  { lie: 'events without a seal', answer: { ...sealed, recorded: 2_099 } },
  { lie: 'seals that nobody signed', answer: { ...sealed, signed: null } },
  { lie: 'a last seal that nobody signed', answer: { ...sealed, signed: { events: 2_047 } } },
  { lie: 'events that were not looked at', answer: { ...sealed, events: 2_099, recorded: 2_100 } },
])('reports $lie', ({ answer, code }) => {
  expect(sealsVerdict(said(answer, code), 2_100).violations).toHaveLength(1);
});

it('reports a store without an event, and no answer', () => {
  const empty = { ok: true, events: 0, recorded: 0, signed: { events: 0 } };
  expect(sealsVerdict(said(empty), 0).violations).toHaveLength(1);
  const crashed = { code: 0, stdout: '', stderr: 'it crashed' };
  expect(sealsVerdict(crashed, 0).violations).toHaveLength(1);
  expect(readModelsVerdict(crashed, rows).violations).toHaveLength(1);
});
