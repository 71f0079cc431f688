"""The English of a query, whatever the task: what is off the subject, and what turns a meaning round.

What the terms are called comes from the task (:class:`~lever_ray.tasks.protocol.Words`). A query's words are compared
with all phrases by the words that they have in common (:mod:`lever_ray.query.overlap`): a word that is listed nowhere
names nothing, and what is listed as off the subject competes for what it shares with a term.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Stance(Enum):
    """What a phrase says of its term when no other word turns it round.

    ``WANTED`` asks for the term ("gold", "hurry"), and its negation does not. ``FEARED`` names what the term
    keeps away from, so it asks for the term with and without a "not" ("mind the lava", "never touch lava").
    ``SHUNNED`` is the term's opposite, and asks for it only when negated ("without wasting time").
    """

    WANTED = "wanted"
    FEARED = "feared"
    SHUNNED = "shunned"


class Effect(Enum):
    """What a cue does to the phrases in its scope.

    ``REVERSE`` is a "not", and two of them cancel. ``DISREGARD`` says that something does not matter, be it
    wanted or feared. ``EMBRACE`` walks into what one should fear.
    """

    REVERSE = "reverse"
    DISREGARD = "disregard"
    EMBRACE = "embrace"


@dataclass(frozen=True)
class Phrase:
    """One example of how people put something.

    Attributes:
        text: the words, in lower case.
        term: the objective term it speaks of; None for words that name no term.
        stance: what it says of its term.
        familiar: whether the words belong to such tasks at all; the others mark a text as off the subject.
        leaving: whether the term is about leaving, against which a "leave" never stands.
    """

    text: str
    term: str | None
    stance: Stance = Stance.WANTED
    familiar: bool = True
    leaving: bool = False


def _split(texts: str) -> tuple[str, ...]:
    return tuple(" ".join(text.split()) for text in texts.split(";"))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _sequences(texts: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(text.split()) for text in _split(texts))


_FAMILIAR = _split(
    """
        get; getting; find; go; going; take; make; do; be; have; want; would like; need; give; put;
        bring; keep; let; try; use; start; stop; see; look; watch; move; walk; step; jump; turn;
        reach; arrive; visit; head for; grab; collect; collecting; pick up; carry; gather; hold;
        catch; pull; push; hit; touch; throw; leave; stay; return; follow; choose; win; end;
        complete; set; work; avoid; dodge; ignore; forget; skip; bother; care; mind; matter; worry;
        maximise; minimise; possible; necessary; please; as much as possible; everything; anything;
        nothing; all of it; every; single; first; last; next; way; ways; route; direction; time;
        place; thing; stuff; some; amount; map; level; maze; dungeon; room; floor; game; player;
        agent; robot; hero; cell; square; tile; grid; wall; corner; pocket; out; out of; in; on;
        off; up; down; to; from; near; around; behind; through; over; under; straight; away; clear;
        with; without; before; after; while; only; just; also; then; again; many; few; more; most;
        least; lot; enough; big; important; mission; objective; task; plan; do your best; ready;
        good; sure; certain; circumstances; cost; price to pay; whatever it takes
    """
)
_OFF_SUBJECT = _split(
    """
        what; who; why; how; day; monday; today; tomorrow; week; month; year; century; morning;
        people; person; man; woman; child; baby; friend; mother; family; wedding; home; house;
        kitchen; furniture; car; traffic; train; flight; hotel; travel; holiday; city; capital city;
        country; world; planet; mountain; river; beach; name; price; buy; sell; order; discount;
        tax; bank account; savings; investment; mortgage; invest; stock market; economy; business;
        company; manager; employee; salary; customer; shop; weather; rain; sun; sky; sea; tree;
        garden; lawn; flower; animal; dog; puppy; cat; horse; bird; fish; food; eat; drink; coffee;
        dinner; restaurant; cook; recipe; bread; pizza; milk; fruit; water; music; guitar; song;
        dance; sing; concert; film; movie; actor; television; book; author; novel; read; write;
        poem; story; joke; letter; word; grammar; sentence; language; translate; french; school;
        teacher; student; exam; mathematics; equation; solve; calculate; divide; science; biology;
        physics; chemistry; history; king; war; army; president; election; poll; vote; law; court;
        government; police; church; news; newspaper; sport; football; team; championship; medal;
        olympics; computer; laptop; screen; settings; hard drive; machine; unit; test; light; lamp;
        alarm; computer science; software; programming; python; editor; install; download; version;
        file; folder; database; server; email; phone; call; camera; battery; meeting; notes; report;
        schedule; appointment; reservation; office; job; interview; doctor; hospital; health;
        medicine; cancer; sleep; bed; dream; love; colour; paint; art; picture; clothes; shirt;
        shoes; explain; define; summarise; remind me; recommend; hello; good morning; thank you;
        ounce; kilogram; kilometre; temperature; degrees; percent; website; internet; password;
        account
    """
)


FAMILIAR: tuple[Phrase, ...] = tuple(Phrase(text, None) for text in _FAMILIAR)
"""What people say of any such task, whichever of its terms they mean."""

OFF_SUBJECT: tuple[Phrase, ...] = tuple(Phrase(text, None, familiar=False) for text in _OFF_SUBJECT)
"""What they say of other things."""

_CUES = {
    Effect.REVERSE: """
        not; no; never; pass up; without; neither; none; avoid; avoiding; avoids; skip; skipping;
        miss; missing; fail; nothing; dodge; evade; shun; refuse; refrain; omit; exclude; excluding;
        except; lacking; leave; leaving; instead of; rather than; apart from; other than; away from;
        clear of; stay out of; keep out of; stay off; keep off; hands off; deactivate; disable; hate
    """,
    Effect.DISREGARD: """
        ignore; ignoring; disregard; disregarding; forget; forgetting; neglect; overlook; never
        mind; nevermind; not mind; not bother; not worry; without worrying; not care; not fuss; no
        need; not need; need not; not have to; not interested; no interest; regardless of; without
        regard; who cares about; not think about; screw; drop; give up on
    """,
    Effect.EMBRACE: "through; into; step on; touch; embrace; seek; towards",
}

CUES: Mapping[tuple[str, ...], Effect] = MappingProxyType(
    {words: effect for effect, texts in _CUES.items() for words in _sequences(texts)}
)
"""Words that turn round what follows them in their clause."""

VERDICTS: frozenset[tuple[str, ...]] = _sequences(
    """
        not matter; not important; unimportant; irrelevant; not relevant; not needed; not required;
        not necessary; unnecessary; optional; ignored; not count; pointless; worthless; not worth
        it; no use; left behind; left alone; untouched
    """
)
"""Cues of disregard that also govern what stands before them, as in "the gold is not important"."""

DEPARTURES: frozenset[tuple[str, ...]] = frozenset({("leave",), ("leaving",)})
"""Cues only where something follows ("leave the gold"), never against a way out ("leave the maze fast")."""

WAYS_OUT: frozenset[str] = _words("leave leaving exit exits escape")
"""First words of the phrases that show a term to be about leaving."""

IDIOMS: Mapping[str, str] = MappingProxyType(
    {
        r"no matter (what|how|the \w+)": "",
        r"(?<!to )not (only|just|merely|simply|stop|hesitate to|hesitate)": "",
        r"why not|no doubt|without (fail|doubt)|no problem|can ?not wait to": "",
        r"nothing (but|except|other than)": "only",
        r"(everything|all|anything) but": "everything except",
        r"under no circumstances?|not under any circumstances?|on no account|at no point": "never",
        r"as well as": "and",
        r"leav(e|ing)(?= (without|with|by|through|via|from|as|fast|quickly|now))": "exit",
        r", nor": ", not",
        r"nor": "or",
        r"nobody|no one": "not",
    }
)
"""Turns of phrase whose words would mislead, as patterns, with what they are read as."""

CONNECTORS: frozenset[str] = _words(
    """
        and then but while whilst after afterwards before once when until till plus also yet so
        though although however because whereas n
    """
)
"""Words that start a new clause."""

IMPERATIVES: frozenset[str] = _words("collect grab gather find reach avoid activate escape")
"""Verbs that start a new clause without a connector, unless what stands before governs them."""

GOVERNORS: frozenset[str] = _words(
    "to not never no can will should must i you we and or go please help let just cannot try"
)
"""Words after which an imperative verb is no new clause."""

DETERMINERS: frozenset[str] = _words("the a an any my your that those these this its their")
"""Words that start a thing rather than an action: "ignore the gold and *the* lever" is one clause."""

ACTIONS: frozenset[str] = _words("hurry run rush sprint escape survive exit go finish leave flee win")
"""Words that stand for an action when alone after "and": "avoid lava and *hurry*" is two clauses."""

FILLERS: frozenset[str] = _words(
    """
        the a an really even ever actually particularly all that too very just so please pls simply
        quite totally absolutely
    """
)
"""Words without weight, left out before phrases and cues are looked for."""

FUNCTION_WORDS: frozenset[str] = _words(
    """
        of to and or is are was were been being am it its it's i i'd i'm i'll i've you your you're
        me my we us our he she they them this these those for in on at by with as does did if than
        from which will would can could should shall may must might has had there here about rather
        instead like let's what's let's that's
    """
)
"""Words that say nothing about the subject of a text."""
