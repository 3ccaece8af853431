import { expect, test } from 'vitest';
import { anId, anInstant, describeContract, expectError } from './contract.ts';
import type { Contract } from './contract.ts';

interface LogLine {
  readonly message: string;
  readonly createdAt: string;
}

/** Ids that are no job of the user's: the document's own, another that could be one, and another user's. */
async function foreignIds(contract: Contract): Promise<readonly string[]> {
  const { id } = await contract.submit(await contract.newUser());
  return ['cmpc20vzh0000x4ubhy1vc7so', '019e0000-0000-7000-8000-000000000000', id];
}

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
