"""What the terms of the grid are called."""

from __future__ import annotations

from collections.abc import Mapping

from lever_ray.tasks.protocol import Words

_DESCRIPTIONS = {
    "path": "Reach the exit as fast as possible.",
    "gold": "Collect as much gold as possible.",
    "hazard": "Avoid hazards at all cost.",
    "lever": "Activate the lever.",
}
_WANTED = {
    "path": """
        path; exit; exits; the exit; way out; get out; getting out; get out of here; out of here;
        escape; flee; leave the maze; leave the level; leave quickly; leaving; door; the goal; reach
        the goal; goal cell; finish; finish line; destination; get to the end; end of the maze;
        fast; faster; fastest; quick; quickly; quickest; speed; speedy; rapidly; swiftly; hurry;
        hurry up; rush; haste; sprint; dash; race; as soon as possible; asap; in no time; in time;
        short; shortest; shortest path; shortest route; short cut; few steps; fewest steps; number
        of steps; fewest moves; number of moves; run; straight to; directly to; immediately;
        efficient route; time is short; against the clock; hustle; pronto; in a hurry; gate; make it
        out
    """,
    "gold": """
        gold; golden; coin; coins; treasure; treasures; nugget; nuggets; loot; booty; plunder;
        riches; wealth; wealthy; millionaire; money; cash; rich; get rich; fortune; bullion;
        valuables; jewels; gems; ingots; precious metal; collect gold; gold coins; pieces of gold;
        shiny gold; gold rush; bounty; jackpot; bling; diamonds
    """,
    "hazard": """
        safe; safely; safest; safety; play it safe; survive; survival; stay alive; alive; careful;
        carefully; be careful; take care; caution; cautious; unharmed; unscathed; unhurt; in one
        piece; watch your step; beware; protect yourself
    """,
    "lever": """
        lever; levers; pull the lever; switch; the switch; flip the switch; button; press the
        button; handle; pull the handle; crank; knob; mechanism; activate; activate it; trigger;
        toggle; switch it on; turn it on; turn on; power on; set it off; flick; device
    """,
}
_FEARED = {
    "hazard": """
        hazard; hazards; hazardous; danger; dangers; dangerous; deadly; lethal; fatal; harmful;
        unsafe; lava; fire; flames; trap; traps; pit; pits; spike; spikes; thorns; poison; acid;
        die; dying; death; dead; get killed; killed; kill yourself; harm; harm's way; get hurt;
        hurt; injured; injury; wounded; damage; get burned; burned; burn; peril; risk; risky;
        threat; threats; get into trouble; out of trouble; disaster; lose a life; perish; wounds;
        suffer; drown; enemy; monsters; jeopardy; explosion
    """,
}
_SHUNNED = {
    "path": """
        dawdle; dawdling; waste time; wasting time; wasting any time; waste steps; delay; delays;
        slow; slowly; linger; loiter; take your time; detour; detours; take forever; take long;
        wander around; long way round
    """,
    "hazard": "reckless; recklessly; careless; carelessly; take risks",
}


def _phrases(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {term: tuple(" ".join(text.split()) for text in texts.split(";")) for term, texts in table.items()}


WORDS = Words(
    _DESCRIPTIONS,
    _phrases(_WANTED),
    _phrases(_FEARED),
    _phrases(_SHUNNED),
    example=("grab the gold and avoid hazards", "gold-hazard"),
)
