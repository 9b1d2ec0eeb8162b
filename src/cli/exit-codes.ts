/** As they stand below the help of the program; `src/errors.md` explains them. */
export const EXIT_CODES = `
Exit codes:
  0    done
  1    failed
  2    wrong usage, or nothing there that can be worked on
  3    damage found, not safe by what "status" asks, or a backup failed last
  4    conflict: locked, already running, target not empty
  5    not found
  6    partly: some units failed, the others are whole
  7    not looked at: nothing damaged was found, and not all could be read
  130  interrupted`;
