// An invitation's code travels behind the # of its link, which no server ever sees; it lands in the field and leaves the address.

export default function invitation(form) {
  const [username, code] = decodeURIComponent(location.hash.slice(1)).split("/");
  if (!code) return;
  form.elements.username.value ||= username;
  form.elements.code.value ||= code;
  history.replaceState(null, "", location.pathname);
  form.elements.new.focus();
}
