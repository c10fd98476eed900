// The page's texts in each of its languages.

const ENGLISH = {
  skip: "Skip to the questions", model: "Model", language: "Language", key: "API key",
  picture: "Picture or video", drop: "Drop a picture or a video here, or paste one.",
  choose: "Choose a file", camera: "Camera", snap: "Take the picture", smaller: "Send it smaller",
  place: "Ask about a place in the picture",
  "place-hint": "Draw a box on the picture, or write its corners as fractions: left, top, right, bottom.",
  corners: "Corners", clear: "Clear", work: "What to do",
  query: "Ask", caption: "Caption", detect: "Find", gaze: "Gaze", redact: "Hide", moderate: "Judge",
  question: "Question", reasoning: "Think first", send: "Ask", stop: "Stop", "new-chat": "New conversation",
  length: "Length", short: "short", normal: "normal", long: "long", describe: "Describe",
  object: "What to find", as: "Mark it by", boxes: "boxes", points: "points", "find-button": "Find", copy: "Copy as JSON",
  copied: "Copied", "object-column": "Object", where: "Where", score: "Score",
  "gaze-hint": "Finds the faces, and where each of them looks.", "gaze-button": "Show where people look",
  "hide-what": "What to hide", style: "Style", blur: "blur", pixelate: "pixelate", solid: "solid colour",
  obfuscate: "obfuscate", "hide-button": "Hide", slider: "Before and after",
  policy: "Policy", "own-words": "in my own words", "not-allowed": "What is not allowed", "judge-button": "Judge", private: "Everything stays on the machine that serves this page.",
  download: "Download", again: "Hide only the chosen ones", tracks: "What was hidden", track: "{label} {track}, {from} to {to} s",
  "no-picture": "Choose a picture first.", "no-video": "Only hiding and judging work on a video.",
  found: "{count} found.", nothing: "Nothing found.", faces: "Faces: {count}. Looking at a place in the picture: {looks}.",
  "looks-at": "P{person} looks at P{other}.", "looks-somewhere": "P{person} looks at a place in the picture.",
  "looks-out": "P{person} looks out of the picture.", "looks-unknown": "Where P{person} looks can't be told.",
  "head-only": "This is the direction of the head, not of the eyes.", head: "head", out: "out",
  seconds: "{seconds} s", tokens: "{count} tokens", cut: "the answer reached its greatest length",
  thoughts: "How it reasoned", stopped: "Stopped.",
  size: "{name}, {width} × {height} pixels, {bytes}", sent: "sent as {width} × {height}, JPEG quality 85: fine print and far objects may be lost",
  "sent-whole": "sent as it is",
  unseen: "{name}, {bytes}; this browser can't show it, but the server may read it", "video-size": "{name}, {bytes}",
  queued: "Waiting: place {position} in the queue.", running: "{percent} % done", "running-frames": "{frames} frames done",
  unable: "{model} can't do this.", "choose-other": "Choose {other} above.", "get-other": "A model that can:",
  unreachable: "The server can't be reached. Trying again …", gone: "The server can't be reached. Is it still running?",
  lost: "The connection was lost. Going on …",
  busy: "The server is busy. Trying again in {seconds} s …", "too-large": "The file has {bytes}, and the server takes {limit} at most.",
  unauthorized: "The server wants an API key: write it at the top.", "no-models": "The server has no model.",
  "not-here": "{model} isn't on this machine ({size}, {licence}). Get it with:", pull: "Get it now",
  "not-served": "{model} is on this machine, but this server was started without it. Serve it with:", serve: "Serve it now", pulling: "Downloading …", pulled: "{done} of {total}",
  "no-camera": "No camera can be used here. Browsers allow it with https and on this machine only.",
  "no-media": "{name} is neither a picture nor a video.",
  allowed: "Nothing that is not allowed was found.", flagged: "Found: {labels}.", failed: "It failed: {error}", warning: "A part is missing: the video is {warning}.", before: "before", after: "hidden",
};

const CHINESE = {
  skip: "跳到提问", model: "模型", language: "语言", key: "API 密钥",
  picture: "图片或视频", drop: "把图片或视频拖到这里，或直接粘贴。",
  choose: "选择文件", camera: "摄像头", snap: "拍照", smaller: "缩小后发送",
  place: "针对图中某处提问", "place-hint": "在图上画一个框，或写出四角的比例：左、上、右、下。",
  corners: "坐标", clear: "清除", work: "要做什么",
  query: "提问", caption: "描述", detect: "查找", gaze: "视线", redact: "遮挡", moderate: "审核",
  question: "问题", reasoning: "先思考", send: "提问", stop: "停止", "new-chat": "新对话",
  length: "长度", short: "短", normal: "中", long: "长", describe: "描述",
  object: "要找什么", as: "标注方式", boxes: "方框", points: "点", "find-button": "查找", copy: "复制为 JSON",
  copied: "已复制", "object-column": "对象", where: "位置", score: "置信度",
  "gaze-hint": "找出每张脸，以及各自在看哪里。", "gaze-button": "显示视线",
  "hide-what": "要遮挡什么", style: "样式", blur: "模糊", pixelate: "马赛克", solid: "纯色", obfuscate: "近似色块",
  "hide-button": "遮挡", slider: "前后对比",
  policy: "策略", "own-words": "用自己的话", "not-allowed": "不允许什么", "judge-button": "审核", private: "所有内容都留在提供此页面的机器上。",
  download: "下载", again: "只遮挡选中的", tracks: "被遮挡的对象", track: "{label} {track}，{from} 至 {to} 秒",
  "no-picture": "请先选择一张图片。", "no-video": "视频只能遮挡或审核。",
  found: "找到 {count} 个。", nothing: "没有找到。", faces: "{count} 张脸，其中 {looks} 张看向图中某处。",
  "looks-at": "P{person} 看着 P{other}。", "looks-somewhere": "P{person} 看向图中某处。",
  "looks-out": "P{person} 看向画面之外。", "looks-unknown": "无法判断 P{person} 看向哪里。",
  "head-only": "这是头部的朝向，而不是视线。", head: "头部", out: "画面外",
  seconds: "{seconds} 秒", tokens: "{count} 个 token", cut: "回答已达到最大长度",
  thoughts: "推理过程", stopped: "已停止。",
  size: "{name}，{width} × {height} 像素，{bytes}", sent: "以 {width} × {height}、JPEG 质量 85 发送：小字和远处的对象可能丢失",
  "sent-whole": "按原样发送",
  unseen: "{name}，{bytes}；浏览器无法显示，但服务器或许可以读取", "video-size": "{name}，{bytes}",
  queued: "排队中：第 {position} 位。", running: "已完成 {percent}%", "running-frames": "已完成 {frames} 帧",
  unable: "{model} 做不到。", "choose-other": "请在上方选择 {other}。", "get-other": "可以的模型：",
  unreachable: "无法连接服务器，正在重试……", gone: "无法连接服务器。它还在运行吗？",
  lost: "连接断开，正在继续……",
  busy: "服务器繁忙，{seconds} 秒后重试……", "too-large": "文件有 {bytes}，服务器最多接受 {limit}。",
  unauthorized: "服务器需要 API 密钥：请写在上方。", "no-models": "服务器没有模型。",
  "not-here": "{model} 不在这台机器上（{size}，{licence}）。获取命令：", pull: "立即获取",
  "not-served": "{model} 已在这台机器上，但启动服务器时没有选用它。启用命令：", serve: "立即启用", pulling: "正在下载……", pulled: "{done}，共 {total}",
  "no-camera": "这里无法使用摄像头。浏览器只在 https 下或本机上允许使用。",
  "no-media": "{name} 既不是图片也不是视频。",
  allowed: "没有发现不允许的内容。", flagged: "发现：{labels}。", failed: "失败：{error}", warning: "有一部分缺失：视频{warning}。", before: "原图", after: "遮挡后",
};

const LANGUAGES = { en: ENGLISH, zh: CHINESE };

let words = ENGLISH;

/** Return a text of the page's language, with {names} filled in. */
export function text(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** Set the language of the page: "en" or "zh". */
export function speak(language) {
  words = LANGUAGES[language];
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));
}

/** Return the person's language if the page has it, else English. */
export function preferredLanguage() {
  const wanted = readSetting("language") ?? navigator.language.slice(0, 2);
  return wanted in LANGUAGES ? wanted : "en";
}

/** Read a setting that this browser keeps; null where it keeps none. */
export function readSetting(name) {
  try {
    return localStorage.getItem(`mdtool-${name}`);
  } catch {
    return null;
  }
}

/** Keep a setting in this browser, where it allows that. */
export function keepSetting(name, value) {
  try {
    localStorage.setItem(`mdtool-${name}`, value);
  } catch {
    // a private window: the setting lasts as long as the page
  }
}

/** Format a number of bytes. */
export function bytes(count) {
  const [unit, size] = count < 1e6 ? ["kB", 1e3] : count < 1e9 ? ["MB", 1e6] : ["GB", 1e9];
  return `${(count / size).toFixed(1)} ${unit}`;
}
