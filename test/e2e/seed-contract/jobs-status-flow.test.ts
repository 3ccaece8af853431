import { expect } from 'vitest';
import { eventually } from '../../support/waiting.ts';
import { holdable } from '../../support/hold.ts';
import { describeContract, expectError, PATIENCE_MS } from './contract.ts';

interface LogLine {
  readonly message: string;
}

describeContract(
  'Job Status Flow',
  (contract) => {
    // One job at a time, so that the one behind a job that is held is PENDING for sure.
    contract.special('GET /jobs: status filters by each of the five', async () => {
      const user = await contract.newUser();
      const done = await contract.submit(user);
      const failed = await contract.submit(user, { type: 'fail', payload: {} });
      await contract.jobIn('DONE', user, done.id);
      await contract.jobIn('FAILED', user, failed.id);
      const { job: processing } = await contract.hold(user);
      const pending = await contract.submit(user);
      const cancelled = await contract.submit(user);
      await contract.call('DELETE', `/jobs/${cancelled.id}`, { token: user.accessToken });

      for (const [status, { id }] of Object.entries({
        PENDING: pending,
        PROCESSING: processing,
        DONE: done,
        FAILED: failed,
        CANCELLED: cancelled,
      })) {
        await eventually(async () => {
          const { body } = await contract.call('GET', `/jobs?status=${status}`, { token: user.accessToken });
          expect(body.data).toMatchObject([{ id, status }]);
          expect(body.meta).toMatchObject({ total: 1 });
          return true;
        }, PATIENCE_MS);
      }
    });

    contract.special('PENDING → PROCESSING → DONE', async () => {
      const user = await contract.newUser();
      const { body, release } = await holdable();
      const { id, status } = await contract.submit(user, body);
      expect(status).toBe('PENDING');
      const running = await contract.jobIn('PROCESSING', user, id);
      expect(running.result).toBeNull();
      await release();
      const done = await contract.jobIn('DONE', user, id);
      expect(done.result).toEqual({ held: true });
      expect(Date.parse(done.updatedAt)).toBeGreaterThanOrEqual(Date.parse(running.updatedAt));
      expect(done.createdAt).toBe(running.createdAt);
    });

    contract.special('FAILED (retried up to 3x)', async () => {
      const user = await contract.newUser();
      const { id } = await contract.submit(user, { type: 'fail', payload: {} });
      expect(await contract.jobIn('FAILED', user, id)).toMatchObject({ result: null });
      const tries = await eventually(async () => {
        const lines = await contract.entries<LogLine>(user, `/jobs/${id}/logs`, 3);
        const found = lines.filter(({ message }) => message.startsWith('Trying, attempt '));
        expect(found.length).toBeGreaterThanOrEqual(3);
        return found;
      }, PATIENCE_MS);
      expect(tries.map(({ message }) => message)).toEqual([1, 2, 3].map((n) => `Trying, attempt ${n}`));
    });

    contract.special('PENDING → CANCELLED: a cancelled job does not run', async () => {
      const user = await contract.newUser();
      const { release } = await contract.hold(user);
      const cancelled = await contract.submit(user);
      const next = await contract.submit(user);
      await contract.call('DELETE', `/jobs/${cancelled.id}`, { token: user.accessToken });
      await release();
      await contract.jobIn('DONE', user, next.id);
      expect(await contract.job(user, cancelled.id)).toMatchObject({ status: 'CANCELLED', result: null });
      const { body } = await contract.call('GET', `/jobs/${cancelled.id}/logs`, { token: user.accessToken });
      expect((body.data as LogLine[]).map(({ message }) => message)).not.toContain(
        'Job started: type=send-email',
      );
    });

    contract.special('DELETE /jobs/:id › Response 400 — Job is not cancellable', async () => {
      const user = await contract.newUser();
      const failed = await contract.submit(user, { type: 'fail', payload: {} });
      await contract.jobIn('FAILED', user, failed.id);
      const { job, release } = await contract.hold(user);
      const cancel = (id: string) => contract.call('DELETE', `/jobs/${id}`, { token: user.accessToken });
      const text = (status: string) =>
        `Cannot cancel job with status ${status}. Only PENDING jobs can be cancelled.`;
      expectError(await cancel(job.id), 400, text('PROCESSING'));
      expectError(await cancel(failed.id), 400, text('FAILED'));
      await release();
      await contract.jobIn('DONE', user, job.id);
      expectError(await cancel(job.id), 400, text('DONE'));
    });
  },
  { WORKER_CONCURRENCY: '1' },
);
