/**
 * The part of @huggingface/tokenizers that is used here, typed. The package's own declarations import each other without
 * file extensions, which TypeScript's NodeNext resolution does not follow: its classes would be `any`.
 */
import * as library from "@huggingface/tokenizers";

export interface LibraryTokenizer {
  readonly normalizer: { normalize(text: string): string } | null;
  readonly pre_tokenizer: {
    pre_tokenize(text: string, options: { readonly section_index: number }): string[];
  } | null;
  readonly post_processor: {
    post_process(tokens: string[], pair: null, special: boolean): { readonly tokens: string[] };
  } | null;
  readonly model: { encode(words: readonly string[]): string[] };
  encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: number[] };
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

type Constructor = new (json: object, config: object) => LibraryTokenizer;

export const LibraryTokenizer = (library as unknown as { readonly Tokenizer: Constructor }).Tokenizer;
