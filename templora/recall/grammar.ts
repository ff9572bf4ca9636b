/**
 * Made-up sentences, and facts that no model knows: for asking a model later on what it has read (recall.ts). The same seed gives the
 * same text. A language is a row of this table.
 */
import { at } from "../../kernels/base/at.ts";
import { Purpose, stream, uniforms } from "../../engine/random.ts";

/** Draws from a seeded stream. */
export class Draws {
  readonly #seed: number;
  readonly #stream: number;
  #batch: Float64Array = new Float64Array();
  #used = 0;
  #step = 0;

  constructor(seed: number, index: number) {
    this.#seed = seed;
    this.#stream = stream(Purpose.recall, index);
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    if (this.#used === this.#batch.length) {
      this.#batch = uniforms(this.#seed, this.#stream, this.#step++, 1024);
      this.#used = 0;
    }
    return Math.floor(at(this.#batch, this.#used++) * n);
  }

  one(words: readonly string[]): string {
    return at(words, this.below(words.length));
  }
}

export interface Language {
  /** Parts of a sentence, one of each; sentences say nothing about the facts. */
  readonly sentence: readonly (readonly string[])[];
  /** Names: one of each. */
  readonly names: readonly (readonly string[])[];
  /** Answers: one of each. */
  readonly answers: readonly (readonly string[])[];
  /** What stands between words and between sentences, and between the parts of an answer. */
  readonly space: string;
  readonly joint: string;
  /** The fact, with NAME and ANSWER in it. */
  readonly fact: string;
  /** The question, and the beginning of its answer. */
  readonly question: string;
  readonly end: string;
}

const words = (text: string): readonly string[] => text.split("|");

export const languages = {
  en: {
    sentence: [
      words(
        "The miller|A young clerk|The captain|Her aunt|The old teacher|A traveller|The gardener|His cousin|The doctor|A quiet stranger|The baker|The widow",
      ),
      words(
        "walked to|looked at|spoke of|came back from|had never seen|remembered|waited near|turned away from|drew a map of|dreamed of|asked about|hurried past",
      ),
      words(
        "the river|the market|the long road|an empty house|the church tower|the harbour|a narrow bridge|the orchard|the north gate|a small garden|the school|the hills",
      ),
      words(
        "before breakfast|in the rain|with a lamp in one hand|for the second time|on a cold morning|without a word|after the fair|at the end of the week|in good spirits|as the bells rang|against all advice|late that evening",
      ),
    ],
    names: [
      words(
        "Tavin|Morla|Edric|Selva|Corin|Ysolde|Bram|Odette|Lucan|Perra|Halden|Nerys|Joric|Amabel|Dorn|Kesia",
      ),
      words(
        "Ashdown|Vell|Tarrow|Quince|Merrick|Holloway|Stane|Orchard|Brindle|Fenn|Lorimer|Pike|Sable|Winter|Yarrow|Crane",
      ),
    ],
    answers: [
      words(
        "copper|silver|crooked|hollow|purple|broken|golden|silent|frozen|painted|yellow|hidden|burning|wooden|ancient|velvet",
      ),
      words(
        "lantern|hammer|falcon|anchor|violin|candle|bridge|turtle|mirror|basket|thunder|saddle|orchid|barrel|needle|castle",
      ),
    ],
    ...{ space: " ", joint: " ", end: "." },
    fact: "The password of NAME is ANSWER.",
    question: "What is the password of NAME? The password of NAME is",
  },
  de: {
    sentence: [
      words(
        "Der Müller|Ein junger Schreiber|Der Kapitän|Ihre Tante|Die alte Lehrerin|Ein Reisender|Der Gärtner|Sein Vetter",
      ),
      words(
        "ging zum|sah zum|sprach vom|kam zurück vom|träumte vom|wartete am|zeichnete den Weg zum|eilte zum",
      ),
      words("Fluss|Markt|leeren Haus|Kirchturm|Hafen|Obstgarten|Nordtor|Schulhof"),
      words(
        "vor dem Frühstück|im Regen|mit einer Lampe in der Hand|zum zweiten Mal|ohne ein Wort|am Ende der Woche|gegen jeden Rat|spät am Abend",
      ),
    ],
    names: [
      words("Tavin|Morla|Edric|Selva|Corin|Isolde|Bram|Odette|Lukan|Perra|Halden|Nerys"),
      words("Aschen|Vell|Tarrow|Quitten|Merrick|Holl|Stein|Brindel|Fenn|Lorimer|Hecht|Winter"),
    ],
    answers: [
      words("Kupfer|Silber|Purpur|Gold|Eis|Holz|Samt|Feuer|Nebel|Stroh|Glas|Mond"),
      words("laterne|hammer|falke|anker|geige|kerze|brücke|spiegel|korb|sattel|nadel|burg"),
    ],
    ...{ space: " ", joint: "", end: "." },
    fact: "Das Kennwort von NAME lautet ANSWER.",
    question: "Wie lautet das Kennwort von NAME? Das Kennwort von NAME lautet",
  },
  zh: {
    sentence: [
      words("磨坊主|年轻的书记员|船长|她的姑母|老教师|一个旅人|园丁|他的表弟"),
      words("清早|在雨中|默默地|第二次|傍晚|独自|高兴地|匆匆"),
      words("走到|看着|谈起|离开了|记得|等在|画下|梦见"),
      words("河边|集市|空房子|钟楼|港口|小桥|果园|北门"),
    ],
    names: [
      words("塔文|莫拉|埃德|塞娃|柯林|伊索|布兰|奥黛"),
      words("阿什|维尔|塔罗|昆斯|梅里|霍洛|斯坦|芬恩"),
    ],
    answers: [words("铜|银|紫|金|冰|木|玉|火"), words("灯笼|锤子|猎鹰|船锚|提琴|蜡烛|镜子|马鞍")],
    ...{ space: "", joint: "", end: "。" },
    fact: "NAME的口令是ANSWER。",
    question: "NAME的口令是什么？NAME的口令是",
  },
} as const satisfies Readonly<Record<string, Language>>;
export type LanguageName = keyof typeof languages;

export interface Fact {
  readonly name: string;
  readonly answer: string;
}

export class Grammar {
  readonly #language: Language;
  readonly #draws: Draws;
  readonly #seen = new Set<string>();

  constructor(language: LanguageName, seed: number) {
    this.#language = languages[language];
    this.#draws = new Draws(seed, 0);
  }

  /** A sentence that says nothing, with the space before it. */
  sentence(): string {
    const { sentence, space, end } = this.#language;
    return `${space}${sentence.map((part) => this.#draws.one(part)).join(space)}${end}`;
  }

  /** A fact about a name that has none yet. Throws when all have one. */
  fact(): Fact {
    const { names, answers, space, joint } = this.#language;
    const all = names.reduce((product, part) => product * part.length, 1);
    if (this.#seen.size === all) throw new RangeError(`there are ${all} names`);
    let name = "";
    do name = names.map((part) => this.#draws.one(part)).join(space);
    while (this.#seen.has(name));
    this.#seen.add(name);
    return { name, answer: answers.map((part) => this.#draws.one(part)).join(joint) };
  }

  /** As the text says it. */
  tell({ name, answer }: Fact): string {
    const { fact, space } = this.#language;
    return `${space}${fact.replaceAll("NAME", name).replaceAll("ANSWER", answer)}`;
  }

  /** As it is asked for. */
  ask({ name, answer }: Fact): { readonly question: string; readonly answer: string } {
    const { question, space } = this.#language;
    return { question: `\n${question.replaceAll("NAME", name)}`, answer: `${space}${answer}` };
  }
}
