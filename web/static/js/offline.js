// Says that the network is cut, and that what is typed stays; goes away when it is back.

export default function offline(banner) {
  const show = () => { banner.hidden = navigator.onLine; };
  window.addEventListener("online", show);
  window.addEventListener("offline", show);
  show();
}
