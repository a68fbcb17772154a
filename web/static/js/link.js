// Completes an address with where this browser already is: the server never builds links from what a request claims.

export default function link(element) {
  element.textContent = new URL(element.dataset.path, location.origin).href;
}
