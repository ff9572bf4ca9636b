/** Chat templates: what transformers renders of them, or an error that says what would differ; never another text. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { renderChat } from "../model/chat_template.ts";
import { goldenFolder } from "./support/golden.ts";

const test = suite("chat templates");

interface Golden {
  readonly tokens: Readonly<Record<string, string>>;
  readonly conversations: readonly (readonly object[])[];
  /** text null: transformers refuses it */
  readonly templates: readonly {
    readonly name: string;
    readonly template: string;
    readonly texts: readonly [conversation: number, addGenerationPrompt: boolean, text: string | null][];
  }[];
  readonly snippets: readonly [snippet: string, text: string | null][];
}
const golden = JSON.parse(readFileSync(new URL("chat_templates.json", goldenFolder), "utf8")) as Golden;
const { tokens, conversations, templates, snippets } = golden;

/** null: refused. */
function render(template: string, conversation: number, add_generation_prompt: boolean): string | null {
  try {
    return renderChat(template, { messages: conversations[conversation], add_generation_prompt, ...tokens });
  } catch (error) {
    assert.instance(error, Error);
    return null;
  }
}
/** Conversations with characters that the two languages strip or count differently may be refused. */
const awkward = (conversation: number): boolean =>
  /[\x85\ufeff]/.test(JSON.stringify(conversations[conversation]));

for (const { name, template, texts } of templates)
  test(`${name}: every conversation as transformers renders it`, () => {
    for (const [conversation, prompt, text] of texts) {
      const ours = render(template, conversation, prompt);
      if (ours !== null || !awkward(conversation))
        assert.is(ours, text, JSON.stringify(conversations[conversation]));
    }
  });

test("Jinja, snippet by snippet: equal, or refused", () => {
  let equal = 0;
  for (const [snippet, text] of snippets) {
    const ours = render(snippet, 2, true);
    if (ours !== null) assert.is(ours, text, snippet);
    if (ours !== null) equal++;
  }
  assert.ok(equal > 140, `${equal} of ${snippets.length} are rendered`);
});

test("a refusal says what differs", () => {
  const says = (template: string): string => {
    try {
      return renderChat(template, { messages: [] });
    } catch (error) {
      return String(error);
    }
  };
  assert.match(says("{{ messages }}"), /a ArrayValue as text/);
  assert.match(says("{{ 'a' | format }}"), /the filter format/);
  assert.match(says("{{ 'a'.zfill(2) }}"), /the method zfill/);
  assert.match(says("{% for i in range(100001) %}{% endfor %}"), /a range of more than 100000 numbers/);
  const endless = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
  assert.match(says(endless), /does not come to an end/);
});

test("today's date, in the formats that templates use", () => {
  const date = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", year: "numeric" }).format(
    new Date(),
  );
  assert.is(renderChat("{{ strftime_now('%d %b %Y') }}", {}), date.replace("Sept", "Sep"));
});

test.run();
