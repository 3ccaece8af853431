import { expect, test } from 'vitest';
import { eventually } from '../../support/waiting.ts';
import { anId, anInstant, describeContract, expectError, holdable, PATIENCE_MS } from './contract.ts';
import type { Contract, JobData } from './contract.ts';

interface LogLine {
  readonly message: string;
  readonly createdAt: string;
}

/** Ids that are no job of the user's: the document's own, another that could be one, and another user's. */
async function foreignIds(contract: Contract): Promise<readonly string[]> {
  const { id } = await contract.submit(await contract.newUser());
  return ['cmpc20vzh0000x4ubhy1vc7so', '019e0000-0000-7000-8000-000000000000', id];
}

describeContract(
  'GET /jobs',
  (contract) => {
    test('Response 200 OK', async () => {
      const { accessToken: token, ...user } = await contract.newUser();
      const total = contract.configurable ? 42 : 8;
      const jobs: JobData[] = [];
      const payload = { to: 'recipient@example.com' };
      for (let n = 0; n < total; n++) {
        jobs.push(await contract.submit({ ...user, accessToken: token }, { type: 'send-email', payload }));
      }
      const list = (page: number) =>
        contract.call('GET', `/jobs?page=${page}&limit=5&status=DONE`, { token });
      const first = await eventually(async () => {
        const answer = await list(1);
        expect(answer.body.meta).toMatchObject({ total });
        return answer;
      }, PATIENCE_MS);

      const totalPages = Math.ceil(total / 5);
      expect(first.status).toBe(200);
      expect(first.body).toMatchObject({
        success: true,
        message: 'Jobs retrieved successfully',
        meta: { total, page: 1, limit: 5, totalPages, hasNextPage: true, hasPrevPage: false },
      });
      expect(first.body.data).toHaveLength(5);
      for (const job of first.body.data as JobData[]) {
        expect(job).toMatchObject({
          id: anId,
          type: 'send-email',
          status: 'DONE',
          payload,
          result: { sent: true, timestamp: anInstant },
          webhookUrl: null,
          createdAt: anInstant,
          updatedAt: anInstant,
        });
      }
      const last = await list(totalPages);
      expect(last.body.meta).toMatchObject({ page: totalPages, hasNextPage: false, hasPrevPage: true });
      expect(last.body.data).toHaveLength(total % 5 || 5);

      // All of the user's, each on one page.
      const pages = await Promise.all(Array.from({ length: totalPages }, (_, n) => list(n + 1)));
      const listed = pages.flatMap(({ body }) => body.data as JobData[]).map(({ id }) => id);
      expect(listed.sort()).toEqual(jobs.map(({ id }) => id).sort());
    });

    test('Query Parameters: page defaults to 1, limit to 10', async () => {
      const { accessToken: token } = await contract.newUser();
      const { status, body } = await contract.call('GET', '/jobs', { token });
      expect(status).toBe(200);
      expect(body).toMatchObject({
        success: true,
        message: 'Jobs retrieved successfully',
        data: [],
        meta: { total: 0, page: 1, limit: 10, totalPages: 0, hasNextPage: false, hasPrevPage: false },
      });
    });

    test('Query Parameters: page and limit are numbers, status is one of five', async () => {
      const { accessToken: token } = await contract.newUser();
      for (const [query, field] of [
        ['page=first', 'page'],
        ['page=0', 'page'],
        ['limit=all', 'limit'],
        ['limit=0', 'limit'],
        ['status=RUNNING', 'status'],
      ] as const) {
        const answer = await contract.call('GET', `/jobs?${query}`, { token });
        expectError(answer, 400, 'Validation error');
        expect(Object.keys(answer.body.errors!)).toEqual([field]);
      }
    });

    test('jobs belonging to the authenticated user', async () => {
      const [user, other] = [await contract.newUser(), await contract.newUser()];
      const { id } = await contract.submit(user);
      const idsOf = async (token: string): Promise<string[]> => {
        const { body } = await contract.call('GET', '/jobs', { token });
        return (body.data as JobData[]).map((job) => job.id);
      };
      await eventually(async () => (await idsOf(user.accessToken)).length > 0, PATIENCE_MS);
      expect(await idsOf(user.accessToken)).toEqual([id]);
      expect(await idsOf(other.accessToken)).toEqual([]);
    });
  },
  { RATE_LIMIT_JOBS_PER_MINUTE: '1000' },
);

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

describeContract('GET /jobs/:id', (contract) => {
  test('Response 200 OK', async () => {
    const user = await contract.newUser();
    const payload = { format: 'pdf', month: 'May 2026' };
    const { id, createdAt } = await contract.submit(user, { type: 'generate-report', payload });
    await contract.jobIn('DONE', user, id);
    const { status, body } = await contract.call('GET', `/jobs/${id}`, { token: user.accessToken });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: true,
      message: 'Job retrieved successfully',
      data: {
        id,
        userId: user.id,
        type: 'generate-report',
        status: 'DONE',
        payload,
        result: {
          reportUrl: expect.stringMatching(/^https:\/\/example\.com\/reports\/\d{13}\.pdf$/) as string,
        },
        webhookUrl: null,
        createdAt,
        updatedAt: anInstant,
      },
    });
  });

  test('Cached: yet what a command has acknowledged is there at once', async () => {
    const user = await contract.newUser();
    const { accessToken: token } = user;
    for (let n = 0; n < 5; n++) {
      const { id } = await contract.submit(user);
      await contract.job(user, id);
      const cancelled = await contract.call('DELETE', `/jobs/${id}`, { token });
      const { status } = await contract.job(user, id);
      if (cancelled.status === 200) expect(status).toBe('CANCELLED');
      else expect(cancelled.body.message).toContain('Cannot cancel job');
    }
  });

  test('Response 404 — Job not found', async () => {
    const { accessToken } = await contract.newUser();
    for (const id of await foreignIds(contract)) {
      const answer = await contract.call('GET', `/jobs/${id}`, { token: accessToken });
      expectError(answer, 404, 'Job not found');
    }
  });
});

describeContract('GET /jobs/:id/logs', (contract) => {
  test('Response 200 OK', async () => {
    const user = await contract.newUser();
    const { id } = await contract.submit(user);
    await contract.entries(user, `/jobs/${id}/logs`, 4);
    const answer = await contract.call('GET', `/jobs/${id}/logs`, { token: user.accessToken });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ success: true, message: 'Job logs retrieved successfully' });
    const lines = answer.body.data as LogLine[];
    expect(lines.map(({ message }) => message)).toEqual([
      'Job started: type=send-email',
      'Status updated to PROCESSING',
      'Processing job type: send-email',
      'Job completed successfully',
    ]);
    for (const line of lines) expect(line).toMatchObject({ id: anId, jobId: id, createdAt: anInstant });
  });

  test('ordered chronologically', async () => {
    const user = await contract.newUser();
    const { id } = await contract.submit(user);
    const times = (await contract.entries<LogLine>(user, `/jobs/${id}/logs`, 4)).map(
      (line) => line.createdAt,
    );
    expect(times).toEqual([...times].sort());
  });

  test('Response 404 — Job not found', async () => {
    const { accessToken } = await contract.newUser();
    for (const id of await foreignIds(contract)) {
      const answer = await contract.call('GET', `/jobs/${id}/logs`, { token: accessToken });
      expectError(answer, 404, 'Job not found');
    }
  });
});
