/** The flags that submit, worker and jobs share. */
import type { Command } from "commander";
import { BadInputError } from "../../engine/errors.ts";

export interface PlaceOptions {
  readonly queue?: string;
  readonly store?: string;
}

export function addPlaceOptions(command: Command): Command {
  return command
    .optionsGroup("Where:")
    .option(
      "--queue <url>",
      "the server of the queue: redis://HOST:PORT (Valkey or Redis), or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
    )
    .option(
      "--store <place>",
      "texts, checkpoints and results: a folder that all machines share, or s3://BUCKET/PREFIX (by the AWS SDK's variables, such as AWS_ENDPOINT_URL_S3)",
    );
}

/** Throws where a flag is missing. */
export function given(value: string | undefined, flag: string): string {
  if (value === undefined || value === "") throw new BadInputError(`${flag} is missing`);
  return value;
}
