/** What a run does with a tokenizer that a file has made. */
import type { Tokenizer } from "../../../model/tokenizer.ts";

const TEXT = "The whale, 1851: it\u0301 isn't\n\n  mine \u{1f40b}. <s>ab</s>";
/** Long enough to be cut into pieces. */
const LONG = TEXT.repeat(22);

export async function speak(tokenizer: Tokenizer): Promise<void> {
  const ids = tokenizer.encode(TEXT, { parseSpecial: true });
  tokenizer.decode(ids);
  tokenizer.decode([0, 1, 2, tokenizer.vocabSize], { special: false });
  await tokenizer.encodeParts([LONG], { piece: 700 });
  if (tokenizer.hasChatTemplate) tokenizer.chat([{ role: "user", content: "Hi" }]);
}
