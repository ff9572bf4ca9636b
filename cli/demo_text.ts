/** The first pages of Herman Melville's Moby-Dick (1851), which is in the public domain: what `templora demo` reads. */
export const demoText = `ETYMOLOGY. (Supplied by a Late Consumptive Usher to a Grammar School.)

The pale Usher—threadbare in coat, heart, body, and brain; I see him now. He was ever dusting his old lexicons and grammars, with a queer handkerchief, mockingly embellished with all the gay flags of all the known nations of the world. He loved to dust his old grammars; it somehow mildly reminded him of his mortality.

"While you take in hand to school others, and to teach them by what name a whale-fish is to be called in our tongue, leaving out, through ignorance, the letter H, which almost alone maketh up the signification of the word, you deliver that which is not true." —Hackluyt.

"WHALE. * * * Sw. and Dan. hval. This animal is named from roundness or rolling; for in Dan. hvalt is arched or vaulted." —Webster's Dictionary.

"WHALE. * * * It is more immediately from the Dut. and Ger. Wallen; A.S. Walwian, to roll, to wallow." —Richardson's Dictionary.

     חן,                  Hebrew.
     ϰητος,               Greek.
     CETUS,               Latin.
     WHŒL,                Anglo-Saxon.
     HVALT,               Danish.
     WAL,                 Dutch.
     HWAL,                Swedish.
     WHALE,               Icelandic.
     WHALE,               English.
     BALEINE,             French.
     BALLENA,             Spanish.
     PEKEE-NUEE-NUEE,     Fegee.
     PEHEE-NUEE-NUEE,     Erromangoan.

EXTRACTS. (Supplied by a Sub-Sub-Librarian).

It will be seen that this mere painstaking burrower and grub-worm of a poor devil of a Sub-Sub appears to have gone through the long Vaticans and street-stalls of the earth, picking up whatever random allusions to whales he could anyways find in any book whatsoever, sacred or profane. Therefore you must not, in every case at least, take the higgledy-piggledy whale statements, however authentic, in these extracts, for veritable gospel cetology. Far from it. As touching the ancient authors generally, as well as the poets here appearing, these extracts are solely valuable or entertaining, as affording a glancing bird's eye view of what has been promiscuously said, thought, fancied, and sung of Leviathan, by many nations and generations, including our own.

So fare thee well, poor devil of a Sub-Sub, whose commentator I am. Thou belongest to that hopeless, sallow tribe which no wine of this world will ever warm; and for whom even Pale Sherry would be too rosy-strong; but with whom one sometimes loves to sit, and feel poor-devilish, too; and grow convivial upon tears; and say to them bluntly, with full eyes and empty glasses, and in not altogether unpleasant sadness—Give it up, Sub-Subs! For by how much the more pains ye take to please the world, by so much the more shall ye for ever go thankless! Would that I could clear out Hampton Court and the Tuileries for ye! But gulp down your tears and hie aloft to the royal-mast with your hearts; for your friends who have gone before are clearing out the seven-storied heavens, and making refugees of long-pampered Gabriel, Michael, and Raphael, against your coming. Here ye strike but splintered hearts together—there, ye shall strike unsplinterable glasses! EXTRACTS.

"And God created great whales." —Genesis.

"Leviathan maketh a path to shine after him; One would think the deep to be hoary." —Job.

"Now the Lord had prepared a great fish to swallow up Jonah." —Jonah.

"There go the ships; there is that Leviathan whom thou hast made to play therein." —Psalms.

"In that day, the Lord with his sore, and great, and strong sword, shall punish Leviathan the piercing serpent, even Leviathan that crooked serpent; and he shall slay the dragon that is in the sea." —Isaiah.

"And what thing soever besides cometh within the chaos of this monster's mouth, be it beast, boat, or stone, down it goes all incontinently that foul great swallow of his, and perisheth in the bottomless gulf of his paunch." —Holland's Plutarch's Morals.

"The Indian Sea breedeth the most and the biggest fishes that are: among which the Whales and Whirlpooles called Balaene, take up as much in length as four acres or arpens of land." —Holland's Pliny.

"Scarcely had we proceeded two days on the sea, when about sunrise a great many Whales and other monsters of the sea, appeared. Among the former, one was of a most monstrous size.... This came towards us, open-mouthed, raising the waves on all sides, and beating the sea before him into a foam." —Tooke's Lucian. "The True History."

"He visited this country also with a view of catching horse-whales, which had bones of very great value for their teeth, of which he brought some to the king.... The best whales were catched in his own country, of which some were forty-eight, some fifty yards long. He said that he was one of six who had killed sixty in two days." —Other or Other's verbal narrative taken down from his mouth by King Alfred, A.D. 890.

"And whereas all the other things, whether beast or vessel, that enter into the dreadful gulf of this monster's (whale's) mouth, are immediately lost and swallowed up, the sea-gudgeon retires into it in great security, and there sleeps." —MONTAIGNE. —Apology for Raimond Sebond.

"Let us fly, let us fly! Old Nick take me if is not Leviathan described by the noble prophet Moses in the life of patient Job." —Rabelais.

"This whale's liver was two cartloads." —Stowe's Annals.

"The great Leviathan that maketh the seas to seethe like boiling pan." —Lord Bacon's Version of the Psalms.

"Touching that monstrous bulk of the whale or ork we have received nothing certain. They grow exceeding fat, insomuch that an incredible quantity of oil will be extracted out of one whale." —Ibid. "History of Life and Death."

"The sovereignest thing on earth is parmacetti for an inward bruise." —King Henry.

"Very like a whale." —Hamlet.

     "Which to secure, no skill of leach's art
     Mote him availle, but to returne againe
     To his wound's worker, that with lowly dart,
     Dinting his breast, had bred his restless paine,
     Like as the wounded whale to shore flies thro' the maine."
      —The Faerie Queen.

"Immense as whales, the motion of whose vast bodies can in a peaceful calm trouble the ocean till it boil." —Sir William Davenant. Preface to Gondibert.

"What spermacetti is, men might justly doubt, since the learned Hosmannus in his work of thirty years, saith plainly, Nescio quid sit." —Sir T. Browne. Of Sperma Ceti and the Sperma Ceti Whale. Vide his V. E.

     "Like Spencer's Talus with his modern flail
     He threatens ruin with his ponderous tail.
   ...
     Their fixed jav'lins in his side he wears,
     And on his back a grove of pikes appears."
      —Waller's Battle of the Summer Islands.

"By art is created that great Leviathan, called a Commonwealth or State—(in Latin, Civitas) which is but an artificial man." —Opening sentence of Hobbes's Leviathan.

"Silly Mansoul swallowed it without chewing, as if it had been a sprat in the mouth of a whale." —Pilgrim's Progress.

     "That sea beast
     Leviathan, which God of all his works
     Created hugest that swim the ocean stream." —Paradise Lost.

     —-"There Leviathan,
     Hugest of living creatures, in the deep
     Stretched like a promontory sleeps or swims,
     And seems a moving land; and at his gills
     Draws in, and at his breath spouts out a sea." —Ibid.

"The mighty whales which swim in a sea of water, and have a sea of oil swimming in them." —Fuller's Profane and Holy State.

     "So close behind some promontory lie
     The huge Leviathan to attend their prey,
     And give no chance, but swallow in the fry,
     Which through their gaping jaws mistake the way."
      —Dryden's Annus Mirabilis.

"While the whale is floating at the stern of the ship, they cut off his head, and tow it with a boat as near the shore as it will come; but it will be aground in twelve or thirteen feet water." —Thomas Edge's Ten Voyages to Spitzbergen, in Purchas.

"In their way they saw many whales sporting in the ocean, and in wantonness fuzzing up the water through their pipes and vents, which nature has placed on their shoulders." —Sir T. Herbert's Voyages into Asia and Africa. Harris Coll.

"Here they saw such huge troops of whales, that they were forced to proceed with a great deal of caution for fear they should run their ship upon them." —Schouten's Sixth Circumnavigation.

"We set sail from the Elbe, wind N.E. in the ship called The Jonas-in-the-Whale.... Some say the whale can't open his mouth, but that is a fable.... They frequently climb up the masts to see whether they can see a whale, for the first discoverer has a ducat for his pains.... I was told of a whale taken near Shetland, that had above a barrel of herrings in his belly.... One of our harpooneers told me that he caught once a whale in Spitzbergen that was white all over." —A Voyage to Greenland, A.D. 1671. Harris Coll.

"Several whales have come in upon this coast (Fife) Anno 1652, one eighty feet in length of the whale-bone kind came in, which (as I was informed), besides a vast quantity of oil, did afford 500 weight of baleen. The jaws of it stand for a gate in the garden of Pitferren." —Sibbald's Fife and Kinross.
`;
