"""Modes of replies: how they end, what is around the answer, and what is no answer."""

from __future__ import annotations

import json

from tests.support.odd_modes.mode import ANTHROPIC, LIST, RESPONSES, Mode, answers, fails, filled, made, replies

HALF = "RIGHT, and the"
BROKEN = {"code": 502, "message": "Provider disconnected"}
DRAFT = "Let me see. The answers are: WRONG"
NEVER = "the reasoning never ends"
DIALOGUE = ("--template", "game", "--elicitation", "dialogue")


def broken(**parts: object) -> object:
    """A choice that ends so, each time."""
    return answers(lambda path, body: made(path, body, choices=[{"index": 0, **parts}]))


ENDS = (
    Mode("error inside a choice", "sends half an answer, `finish_reason: \"error\"` and an error 502 in the choice",
         broken(message={"content": "1, 0"}, finish_reason="error", error=BROKEN), "error",
         "HTTP 200 with an error: Provider disconnected", 3),
    Mode("error inside a choice, once", "does so for the first call only",
         fails({"choices": [{"message": {"content": "0"}, "finish_reason": "error", "error": BROKEN}]}), "correct"),
    Mode("error in the message", "puts the error into the message of a choice that ended with `stop`",
         broken(message={"content": "1, 0", "error": BROKEN}, finish_reason="stop"), "error",
         "Provider disconnected", 3),
    Mode("resources ran out", "ends half an answer with `insufficient_system_resource`",
         replies(HALF, "insufficient_system_resource"), "error", "the provider broke the reply off", 3),
    Mode("no reason", "does not say why the reply ended", replies(why=None), "error",
         "the server does not say why the reply ended", 3),
    Mode("an unknown reason", "ends with a word that nobody knows", replies(why="vendor_limit"), "error",
         "the reply ended for an unknown reason ('vendor_limit')", 3),
    Mode("tool calls", "calls a tool that nobody offered",
         replies(None, "tool_calls", {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "WRONG"}}]}),
         "error", "the reply ended for an unknown reason ('tool_calls')", 3),
    Mode("reply limit", "cuts the reply off at its limit", replies("WRONG", "length"), "truncated",
         "were cut off at the limit of"),
    Mode("full context", "ends with `MAX_TOKENS` where the context is full", replies("WRONG", "MAX_TOKENS"),
         "truncated"),
    Mode("context exceeded", "ends with `model_context_window_exceeded`",
         replies("WRONG", "model_context_window_exceeded"), "truncated", flags=ANTHROPIC),
    Mode("incomplete response", "ends a response as `incomplete` for `max_output_tokens`",
         replies("WRONG", "incomplete", incomplete_details={"reason": "max_output_tokens"}), "truncated",
         flags=RESPONSES),
    Mode("incomplete, no reason", "ends a response as `incomplete` and does not say why",
         replies("WRONG", "incomplete"), "error", "the reply ended for an unknown reason ('incomplete')", 3,
         flags=RESPONSES),
    Mode("paused turn", "ends with `pause_turn`", replies("WRONG", "pause_turn"), "error",
         "the reply ended for an unknown reason ('pause_turn')", 3, flags=ANTHROPIC),
    Mode("content filter", "stops in the middle, by a filter", replies("WRONG", "content_filter"), "refused"),
    Mode("recitation", "ends with `RECITATION`", replies("WRONG", "RECITATION"), "refused"),
    Mode("refusal field", "puts its refusal beside an empty content",
         replies(None, message={"refusal": "I can't help with that."}), "refused"),
    Mode("prompt filtered", "answers 400 with the code `content_filter`, as Azure does",
         answers(lambda *_: (400, {"error": {"code": "content_filter", "message": "filtered"}})), "refused"),
)  # fmt: skip

MARKS = (
    Mode("open [THINK]", "leaves a draft in a block that never ends", replies(f"[THINK]{DRAFT}"), "invalid", NEVER),
    Mode("[THINK] and answer", "leaves the marks in", replies(f"[THINK]{DRAFT}[/THINK]RIGHT"), "correct"),
    Mode("only the closing mark", "has taken out the opening mark alone", replies(f"{DRAFT}\n</think>\n\nRIGHT"),
         "correct"),
    Mode("<think>, cut off", "reaches the limit inside a block", replies(f"<think>{DRAFT}", "length"), "truncated"),
    Mode("channels leak", "writes gpt-oss' channels as words", replies(f"analysis{DRAFT}assistantfinalRIGHT"),
         "correct"),
    Mode("channels with marks", "writes gpt-oss' channels with their marks",
         replies(f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>RIGHT"),
         "correct"),
    Mode("a channel never ends", "writes the thoughts' channel only", replies(f"<|channel|>analysis<|message|>{DRAFT}"),
         "invalid", NEVER),
    Mode("end of turn", "leaves the mark at the end", replies("RIGHT<|im_end|>"), "correct"),
    Mode("repeated ends", "leaves several of them, and the next turn's header",
         replies("RIGHT</s></s>\n<|im_end|>\n<|im_start|>assistant\n"), "correct"),
    Mode("the next turn", "goes on with a turn of the user's",
         replies("RIGHT<|im_end|>\n<|im_start|>user\nAnd now: WRONG"), "invalid"),
    Mode("role as text", "writes the header of its turn",
         replies("<|start_header_id|>assistant<|end_header_id|>\n\nRIGHT"), "correct"),
    Mode("role as a word", "writes the role of its turn as a word", replies("assistant\n\nRIGHT"), "correct"),
    Mode("own tags", "marks thoughts in a way of its own; `--reasoning-tags` names it",
         replies(f"(((muse {DRAFT} )))RIGHT"), "correct", flags=(*LIST, "--reasoning-tags", "(((muse", ")))")),
    Mode("thoughts beside", "puts thoughts into `reasoning_content`", replies(message={"reasoning_content": DRAFT}),
         "correct"),
    Mode("thoughts in parts", "sends the content as parts, thoughts among them",
         answers(lambda path, body: made(path, body, [{"type": "thinking", "thinking": DRAFT},
                                                      {"type": "text", "text": filled("RIGHT", body)}])), "correct"),
)  # fmt: skip

EMPTY = (
    Mode("null content", "answers with `content: null` and thoughts beside it",
         replies(None, message={"reasoning_content": DRAFT}), "invalid", "the reply is empty"),
    Mode("empty content", "answers with an empty text", replies(""), "invalid", "the reply is empty"),
    Mode("no content at all", "leaves `content` out", answers(
        lambda path, body: made(path, body, choices=[{"message": {"role": "assistant"}, "finish_reason": "stop"}])),
         "invalid", "the reply is empty"),
    Mode("white space", "answers with line breaks alone", replies("\n\n \n"), "invalid", "the reply is empty"),
    Mode("response without message", "completes a response without a message", replies(output=[]), "invalid",
         "the reply is empty", flags=RESPONSES),
    Mode("message without blocks", "ends its turn without a block", replies(content=[]), "invalid",
         "the reply is empty", flags=ANTHROPIC),
    Mode("only a mark", "answers with the mark of its end alone", replies("<|im_end|>"), "invalid",
         "the reply is empty"),
)  # fmt: skip

ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")
WORDS = ("zero", "one")


def rewritten(write: object) -> object:
    """A server that writes the right answers in its own way."""
    return answers(lambda path, body: made(path, body, write(filled("RIGHT", body).split(", "))))  # type: ignore[operator]


CLEAR = (
    Mode("ordinals", "writes `First read: 1`, one a line",
         rewritten(lambda bits: "\n".join(f"{nth} read: {bit}" for nth, bit in zip(ORDINALS, bits, strict=False))),
         "correct"),
    Mode("number words", "writes `one, zero`",
         rewritten(lambda bits: ", ".join(WORDS[int(bit)] for bit in bits)), "correct"),
    Mode("a remark", "counts its answers in brackets", rewritten(
        lambda bits: f"{', '.join(bits)} ({len(bits)} reads)"), "correct"),
    Mode("Chinese", "writes `答案：1，0`", rewritten(lambda bits: f"答案：{'，'.join(bits)}"), "correct"),
    Mode("wide digits", "writes `１, ０`",
         rewritten(lambda bits: ", ".join("０１"[int(bit)] for bit in bits)), "correct"),
    Mode("Arabic digits", "writes `١، ٠`",
         rewritten(lambda bits: "، ".join("٠١"[int(bit)] for bit in bits)), "correct"),
    Mode("Devanagari digits", "writes `१, ०`",
         rewritten(lambda bits: ", ".join("०१"[int(bit)] for bit in bits)), "correct"),
    Mode("JSON in a fence", "writes a list of JSON in a code block",
         rewritten(lambda bits: f"```json\n[{', '.join(bits)}]\n```"), "correct"),
    Mode("LaTeX", "writes `$\\boxed{1, 0}$`", rewritten(lambda bits: f"$\\boxed{{{', '.join(bits)}}}$"), "correct"),
    Mode("bold in a sentence", "writes `The answers are: **1, 0**.`",
         rewritten(lambda bits: f"The answers are: **{', '.join(bits)}**."), "correct"),
    Mode("two lists", "gives one list and then another", replies("RIGHT\n\nor maybe\n\nWRONG"), "invalid"),
    Mode("takes it back", "corrects itself and does not end", replies("WRONG. Wait, actually"), "invalid"),
)  # fmt: skip


def back(form: str) -> object:
    """A server that sends the prompt back: ``form`` has PROMPT in it."""
    return answers(lambda path, body: made(
        path, body, form.replace("PROMPT", body.get("prompt") or body["messages"][-1]["content"])))  # fmt: skip


OUTSIDE = (
    Mode("half an emoji", "ends a reply in half a surrogate pair", replies("RIGHT \ud83d"), "correct"),
    Mode("NUL", "puts NUL and escape characters into a reply", replies("\x00\x1b[31mRIGHT\x1b[0m\x00"), "invalid"),
    Mode("half an emoji in an error", "puts half an emoji into an error",
         answers(lambda *_: (400, {"error": {"message": "bad \udc00 \x1b[2J thing"}})), "error", "bad", 3),
    Mode("half an emoji as a model", "says that it answers with a model of such a name", replies(model="m-\ud83d"),
         "correct"),
    Mode("lines in an error", "sends an error of many lines and tags", answers(
        lambda *_: (422, {"error": {"message": "<html>\u2028line one\r\n\r\nline\u0085two</html>"}})), "error",
         "HTTP 422: line one line two", 3),
    Mode("no end of spaces", "sends a reply with a hundred thousand spaces", replies("RIGHT" + " " * 10**5), "correct"),
)  # fmt: skip

SHAPES = (
    Mode("content as an object", "sends the content as an object", replies({"text": "1, 0"}), "error",
         "the answer has an unknown shape", 3),
    Mode("content as a number", "sends the content as a number", replies(10), "error",
         "the answer has an unknown shape", 3),
    Mode("content as a list of numbers", "sends the content as the list of the answers", replies([1, 0]), "error",
         "the answer has an unknown shape", 3),
    Mode("message as a text", "sends the message as a text",
         broken(message="1, 0", finish_reason="stop"), "error", "the answer has no message", 3),
    Mode("choices as an object", "sends an object of choices",
         answers(lambda path, body: made(path, body, choices={"0": {"message": {"content": "1"}}})), "error",
         "unknown shape", 3),
    Mode("choices as texts", "sends texts as choices", replies(choices=["1, 0"]), "error", "unknown shape", 3),
    Mode("a delta", "sends the piece of a stream as a choice",
         broken(delta={"content": "1"}, finish_reason="stop"), "error", "the answer has no message", 3),
    Mode("two choices", "sends a second choice with another answer", answers(lambda path, body: made(
        path, body, choices=[{"index": n, "finish_reason": "stop", "message": {"content": filled(text, body)}}
                             for n, text in enumerate(("RIGHT", "WRONG"))])), "error",
         "the answer has 2 choices that differ, and one was asked for", 3),
    Mode("the same choice twice", "sends its choice twice", answers(lambda path, body: made(
        path, body, choices=made(path, body)["choices"] * 2)), "correct"),
    Mode("the prompt comes back", "puts the prompt in front of its answer", back("PROMPT\n\nRIGHT"), "correct"),
    Mode("the prompt alone", "answers with the prompt and nothing else", back("PROMPT"), "invalid",
         "the reply is empty"),
    Mode("the whole template", "sends the prompt back with its marks",
         back("<|im_start|>user\nPROMPT<|im_end|>\n<|im_start|>assistant\nRIGHT<|im_end|>"), "correct"),
    Mode("the template alone", "sends the prompt back with its marks, and no answer",
         back("<|im_start|>user\nPROMPT<|im_end|>\n<|im_start|>assistant\n"), "invalid", "the reply is empty"),
    Mode("a text comes back", "puts the text in front of what follows", back("PROMPT 1"), "correct wrong",
         flags=("--template", "raw-spaced", "--api", "completions", "--elicitation", "next"), length=120),
    Mode("two messages", "sends a response in two messages", answers(lambda path, body: made(
        path, body, output=made(path, body, "WRONG")["output"] + made(path, body, "RIGHT")["output"])), "invalid",
        flags=RESPONSES),
    Mode("counts as texts", "reports tokens as texts", replies(usage={"prompt_tokens": "12", "completion_tokens": "3"}),
         "correct"),
    Mode("counts below nothing", "reports -1 tokens", replies(usage={"prompt_tokens": -1, "completion_tokens": -1}),
         "correct"),
    Mode("counts of another shape", "reports tokens in a list", replies(usage=[1, 2]), "correct"),
    Mode("counts that are NaN", "reports NaN tokens", replies(usage={"prompt_tokens": float("nan")}), "correct"),
    Mode("deep nesting", "sends ninety brackets beside the answer", replies(extra=json.loads("[" * 90 + "]" * 90)),
         "correct"),
    Mode("a dialogue with marks", "leaves marks in the turns of a dialogue", replies("RIGHT<|im_end|>"), "correct",
         flags=DIALOGUE),
)  # fmt: skip
