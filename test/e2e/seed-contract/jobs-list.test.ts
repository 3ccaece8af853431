import { expect, test } from 'vitest';
import { eventually } from '../../support/waiting.ts';
import { anId, anInstant, describeContract, expectError, PATIENCE_MS } from './contract.ts';
import type { JobData } from './contract.ts';

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
