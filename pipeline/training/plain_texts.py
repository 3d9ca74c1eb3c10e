"""Texts to see what a model's matrices multiply, where a build has no data set.

They were written for this project and are under its licence. None of them is one of
:data:`pipeline.evaluation.general.PASSAGES`, which models are judged by.
"""

from __future__ import annotations

TEXTS = (
    "The museum opens at ten and closes at six, except on Thursdays, when it stays open until "
    "nine. Tickets are sold at the entrance and on the website. Children under twelve pay "
    "nothing. Bags larger than a sheet of paper have to be left in the cloakroom on the ground "
    "floor.",
    "To change a tyre, park on firm ground and pull the handbrake. Loosen the nuts a little "
    "before you lift the car. Put the jack under the strong part of the frame, raise the wheel, "
    "take off the nuts, and change it. Tighten the nuts crosswise, first by hand, then with the "
    "wrench.",
    "Photosynthesis is how plants make sugar from carbon dioxide and water with the energy of "
    "light. It happens in small green bodies inside their cells. Oxygen is left over, and almost "
    "all of the oxygen in the air was made in this way over more than two billion years.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    "
    "return total / len(values)\n\n\nprint(mean([3, 5, 8, 12]))  # prints 7.0\n",
    'User: I forgot my password. What can I do?\nAssistant: Click on "Forgot password" below the '
    "form and enter your address. You will get a message with a link within a few minutes. If it "
    "does not come, look into your folder for spam, or write to us.",
    "Question: A train travels 180 kilometres in two hours. How fast is it on average?\nAnswer: "
    "Divide the distance by the time: 180 / 2 = 90. The train travels at 90 kilometres per hour.",
    "The old woman had kept bees since she was a girl. Every morning she walked along the hives "
    "and listened. A quiet hive was a bad sign, she said, and a loud one was worse. When the "
    "bees left in June, she followed them with a sheet and a basket, and always came back with "
    "both full.",
    "Dear Ms Hall, thank you for your application. We were impressed by your work and would like "
    "to invite you to an interview on 14 March at 9:30. Please tell us whether the date suits "
    "you. If you need help with travelling, we will gladly book a room for you. Kind regards, R. "
    "Osei",
    "The market fell on Tuesday after three days of gains. Banks lost most, while makers of "
    "medicines rose a little. Analysts said that investors were waiting for the central bank, "
    "which decides on interest rates this week. The euro was hardly changed at 1.08 dollars.",
    "Once the kingdom had two queens, one in the north and one in the south, and they had not "
    "spoken for twenty years. Nobody knew why. Then a winter came so hard that the river between "
    "their lands froze, and for the first time children could walk from one side to the other.",
    '{"name": "Lamp", "price": 24.5, "colours": ["white", "black"], "in_stock": true, "size": '
    '{"height": 41, "width": 18}, "rating": null}',
    "A contract is valid only if both sides agree to the same thing. Silence is not consent, "
    "except where the law or an earlier agreement says so. What was signed under threat can be "
    "contested. It is wise, though not always necessary, to put an agreement into writing.",
    "Heat the oil in a wide pan, add the onions, and let them become soft without turning brown. "
    "Stir in the rice until it shines. Pour in a glass of wine, then hot broth, one ladle at a "
    "time. After eighteen minutes take it off the fire and add butter and cheese.",
    "The heart of an adult beats about seventy times a minute and moves five litres of blood. It "
    "has four chambers. The right side sends blood to the lungs, where it takes up oxygen, and "
    "the left side sends it to the rest of the body. Valves keep it from flowing back.",
    "I had never liked the film, but my sister had seen it eleven times, so we went. The cinema "
    "was almost empty. Ten minutes before the end the picture stopped, the lights came on, and a "
    "man with a torch said that he was sorry. My sister stood up and told everybody how it ends.",
    "SELECT customers.name, COUNT(*) AS orders\nFROM customers JOIN orders ON orders.customer = "
    "customers.id\nWHERE orders.day >= '2024-01-01'\nGROUP BY customers.name\nORDER BY orders "
    "DESC;",
    "In 1854 a doctor in London marked each death from cholera on a map. Most were near one "
    "pump. When its handle was taken off, the deaths became fewer. At that time people believed "
    "that bad air made them ill; the map showed that it was the water.",
    "The room is on the third floor and looks onto the garden. It has a desk, a bed, a wardrobe "
    "and a small balcony. The kitchen is shared with two students. Rent is 480 a month with "
    "heating, and internet is included. Smoking is not allowed. It is free from the first of May.",
    "Review: I bought this kettle in autumn. It boils fast, but the lid is stiff, and after two "
    "months the switch broke. The shop sent me another one without asking much. Two stars for "
    "the kettle, five for the shop.",
    "Gravity is the weakest of the forces, yet it shapes everything large. Two people who stand "
    "next to each other attract one another less than a grain of dust weighs. But the Earth has "
    "so much mass that it holds an ocean and an atmosphere, and the Moon on its path.",
    "The team played badly in the first half and lost the ball again and again. After the break "
    "the coach changed three players at once. Ten minutes later it was two to two. The last goal "
    "came in the final minute, from so far away that the keeper only turned round and looked.",
    "Before you begin, close all other programs and save your work. Open the settings, choose "
    '"Updates", and press "Install now". The computer restarts twice. Do not switch it off while '
    'the message "Please wait" is shown, even if it takes a quarter of an hour.',
    "Es war einmal ein kleines Haus am Rand der Stadt. La maison avait deux portes et une seule "
    "fenêtre. El perro dormía todo el día delante de la puerta. Only the cat went in and out, "
    "and nobody ever asked her what language she spoke.",
    "A triangle with sides 3, 4 and 5 has a right angle, because 9 + 16 = 25. The same is true "
    "of 5, 12 and 13. To find more of them, take two whole numbers m > n and compute m^2 - n^2, "
    "2mn and m^2 + n^2.",
)
