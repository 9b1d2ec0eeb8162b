import * as z from 'zod';
import { safetySchema } from './replies.ts';

/** What a console of several data directories says of each. */
export const foldersReplySchema = z.object({
  folders: z
    .array(
      z.object({
        data_dir: z.string().describe('As it was named'),
        page: z.string().nullable().describe('Its page, relative to this one; null where it cannot be shown'),
        safety: safetySchema.nullable(),
        problem: z.string().nullable().describe('Why nothing can be said of it'),
      }),
    )
    .readonly(),
});
