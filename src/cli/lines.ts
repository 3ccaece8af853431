/** Standard output for commands that print as they go. */
export interface Lines {
  /** Resolves when the line is on its way and more may follow. Answers false once the reader has gone away. */
  write(line: string): Promise<boolean>;
}

/** @param stream whose reader may be slow, or end before we do (`| head`) */
export function openLines(stream: NodeJS.WritableStream = process.stdout): Lines {
  let failure: NodeJS.ErrnoException | null = null;
  stream.on('error', (error: NodeJS.ErrnoException) => (failure ??= error));

  const drained = (): Promise<void> =>
    new Promise((resolve) => {
      const end = (): void => {
        stream.off('drain', end).off('error', end).off('close', end);
        resolve();
      };
      stream.on('drain', end).on('error', end).on('close', end);
    });

  return {
    async write(line) {
      if (failure === null && !stream.write(`${line}\n`)) await drained();
      if (failure !== null && failure.code !== 'EPIPE') throw failure;
      return failure === null;
    },
  };
}
