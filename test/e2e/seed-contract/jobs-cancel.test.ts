import { expect, test } from 'vitest';
import { anInstant, describeContract, EMAIL_JOB, expectError } from './contract.ts';
import type { Contract } from './contract.ts';

/** Nothing runs here, so a job can be cancelled for sure. */
const NO_WORKER = { ROLES: 'api,projector,dispatcher' };

describeContract(
  'DELETE /jobs/:id',
  (contract) => {
    test('Response 200 OK', async () => {
      const user = await contract.newUser();
      const { id, answer } = await cancelInTime(contract, user.accessToken);
      expect(answer.status).toBe(200);
      expect(answer.body).toMatchObject({
        success: true,
        message: 'Job cancelled successfully',
        data: { id, status: 'CANCELLED', updatedAt: anInstant },
      });
      expect(await contract.job(user, id)).toMatchObject({ id, status: 'CANCELLED' });
    });

    test('Response 400 — Job is not cancellable: CANCELLED', async () => {
      const { accessToken } = await contract.newUser();
      const { id } = await cancelInTime(contract, accessToken);
      expectError(
        await contract.call('DELETE', `/jobs/${id}`, { token: accessToken }),
        400,
        'Cannot cancel job with status CANCELLED. Only PENDING jobs can be cancelled.',
      );
    });

    test('Response 404 — Job not found', async () => {
      const [user, other] = [await contract.newUser(), await contract.newUser()];
      const { id } = await contract.submit(other);
      for (const unknown of ['cmpc20vzh0000x4ubhy1vc7so', '019e0000-0000-7000-8000-000000000000', id]) {
        const answer = await contract.call('DELETE', `/jobs/${unknown}`, { token: user.accessToken });
        expectError(answer, 404, 'Job not found');
      }
    });
  },
  NO_WORKER,
);

/** Submits a job and cancels it before a worker starts it; where workers run, that may take some tries. */
async function cancelInTime(contract: Contract, token: string) {
  for (let tries = 1; ; tries++) {
    const created = await contract.call('POST', '/jobs', { token, body: EMAIL_JOB });
    const { id } = created.body.data as { id: string };
    const answer = await contract.call('DELETE', `/jobs/${id}`, { token });
    if (answer.status === 200 || tries === 9) return { id, answer };
  }
}
